"""Derive which pre-tokenizer of byte-level BPE a tokenizer.json has, and what its letters mean."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from verify.tokenizers.rules import NotHeldError, PreTokenizer

# As the files of the families have them; GPT-2's is that of ByteLevel itself.
GPT2 = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
LLAMA3 = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}"
    r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
QWEN2 = LLAMA3.replace(r"\p{N}{1,3}", r"\p{N}")
PATTERNS: dict[str, PreTokenizer] = {GPT2: "gpt2", LLAMA3: "llama3", QWEN2: "qwen2"}

_PRINTABLE = (*range(ord("!"), ord("~") + 1), *range(0xA1, 0xAC + 1), *range(0xAE, 0xFF + 1))
_OTHERS = tuple(byte for byte in range(256) if byte not in _PRINTABLE)
# GPT-2 writes a byte as a letter: those that print as themselves, the others as the letters from U+0100 on.
LETTERS = {chr(byte): byte for byte in _PRINTABLE} | {chr(256 + n): byte for n, byte in enumerate(_OTHERS)}


def bytes_of_letters(text: str) -> bytes:
    """Return the bytes that GPT-2's letters stand for. Raises NotHeldError for another letter."""
    try:
        return bytes(LETTERS[letter] for letter in text)
    except KeyError as error:
        raise NotHeldError(f"a piece {text!r:.40}, which is not of GPT-2's letters for bytes") from error


def pre_tokenizer_of(steps: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return pre_tokenizer, digits and prefix as fields of Rules.

    A text is cut at digits, then by a regular expression, and ByteLevel turns each part into letters. Raises
    NotHeldError for other steps.
    """
    left = list(steps)
    digits = False
    if left[0]["type"] == "Digits":
        if not left[0].get("individual_digits"):
            raise NotHeldError("a pre-tokenizer that keeps digits together")
        digits, left = True, left[1:]
    name: PreTokenizer = "none"
    if left and left[0]["type"] == "Split":
        name, left = _pattern(left[0]), left[1:]
    if len(left) != 1 or left[0]["type"] != "ByteLevel":
        raise NotHeldError(f"the pre-tokenizers {', '.join(step['type'] for step in steps)}")
    last = left[0]
    if last.get("use_regex", True):
        if name != "none":
            raise NotHeldError("two regular expressions, one after the other")
        name = "gpt2"
    prefix = bool(last.get("add_prefix_space", True))
    if prefix and (digits or len(steps) > 1):
        raise NotHeldError("a space before every part of a text")
    return {"pre_tokenizer": name, "digits": digits, "prefix": prefix}


def _pattern(step: Mapping[str, Any]) -> PreTokenizer:
    pattern = step["pattern"].get("Regex")
    if pattern not in PATTERNS or step.get("invert") or step["behavior"] not in ("Isolated", "Removed"):
        raise NotHeldError(f"the regular expression {pattern!r:.60}")
    if step["behavior"] == "Removed":
        raise NotHeldError("a regular expression whose matches are removed")
    return PATTERNS[pattern]
