"""Writes v3's tokenizer block from rules, and encodes by rules in the plainest way, with no regard for time."""

from __future__ import annotations

import struct
import unicodedata
from collections.abc import Iterator, Sequence

import regex

from verify.tokenizers.rules import NONE, STRIPS_LEFT, STRIPS_RIGHT, Rules

_PRE_TOKENIZERS = ("none", "gpt2", "llama3", "qwen2")
_SWITCHES = ("ignore_merges", "add_bos", "add_eos", "nfc", "digits", "prefix", "byte_fallback", "single_spaces")
_PATTERNS = {
    "none": r"(?s:.+)",
    "gpt2": r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+",
    "llama3": r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*"
    r"|\s*[\r\n]+|\s+(?!\S)|\s+",
    "qwen2": r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*"
    r"|\s*[\r\n]+|\s+(?!\S)|\s+",
}


def block_of(rules: Rules) -> bytes:
    """Return the bytes of the block that says these rules."""
    content = b"".join(rules.pieces)
    template = rules.template.encode()
    header = struct.pack(
        "<IIIIIIiiIIIIQ8x",
        1 if rules.kind == "bytes" else 2,
        sum(1 << bit for bit, name in enumerate(_SWITCHES) if getattr(rules, name)),
        _PRE_TOKENIZERS.index(rules.pre_tokenizer),
        len(rules.pieces),
        len(rules.merges),
        len(rules.added),
        rules.bos,
        rules.unk,
        len(rules.ends),
        0xFFFFFFFF if rules.eos == NONE else rules.eos,
        len(template),
        int(rules.scores is not None),
        len(content),
    )
    ends, at = [], 0
    for piece in rules.pieces:
        at += len(piece)
        ends.append(at)
    parts = [
        header,
        struct.pack(f"<{len(ends)}I", *ends),
        content + bytes(-len(content) % 4),
        struct.pack(f"<{len(rules.scores or ())}f", *(rules.scores or ())),
        *(struct.pack("<II", *pair) for pair in rules.merges),
        *(struct.pack("<II", token, flags) for token, flags in sorted(rules.added.items())),
        struct.pack(f"<{len(rules.ends)}I", *rules.ends),
        template,
    ]
    block = b"".join(parts)
    return block + bytes(-len(block) % 64)


class PlainEncoder:
    """Encodes by rules; the judged engine's place in tests."""

    def __init__(self, rules: Rules) -> None:
        self._rules = rules
        self._token_of = {piece: n for n, piece in enumerate(rules.pieces) if piece and n not in rules.added}
        self._ranks: dict[tuple[int, int], tuple[float, int]] = {}
        for rank, (left, right) in enumerate(rules.merges):
            whole = self._token_of.get(rules.pieces[left] + rules.pieces[right], NONE)
            self._ranks[left, right] = rank, whole
        self._pattern = regex.compile(_PATTERNS[rules.pre_tokenizer])
        self._cache: dict[str, list[int]] = {}
        self._added = [self._finder(normalized=flag) for flag in (False, True)]

    def encode(self, text: str, *, special: bool) -> list[int]:
        rules = self._rules
        ids = [rules.bos] if special and rules.add_bos else []
        for part in self._split(text):
            ids += [part] if isinstance(part, int) else self._segment(part)
        return ids + ([rules.eos] if special and rules.add_eos else [])

    def decode(self, ids: Sequence[int]) -> bytes:
        rules = self._rules
        pieces = [
            bytes([int(piece[3:5], 16)])
            if rules.byte_fallback and regex.fullmatch(rb"<0x[0-9A-F]{2}>", piece) and token not in rules.added
            else piece
            for token, piece in ((token, rules.pieces[token]) for token in ids)
        ]
        if rules.kind == "bytes":
            return b"".join(pieces)
        text = b"".join(pieces).replace("\u2581".encode(), b" ")
        if rules.single_spaces:
            return text.lstrip(b" ")
        return text.removeprefix(b" ") if rules.prefix else text

    def _split(self, text: str) -> Iterator[int | str]:
        """Yield added tokens, and the text between them, normalized."""
        for part in self._cut(text, self._added[False]):
            if isinstance(part, int):
                yield part
                continue
            normal = unicodedata.normalize("NFC", part) if self._rules.nfc else part
            yield from self._cut(normal, self._added[True])

    def _finder(self, *, normalized: bool) -> dict[str, int]:
        return {
            self._rules.pieces[token].decode(): token
            for token, flags in self._rules.added.items()
            if bool(flags & 16) == normalized
        }

    def _cut(self, text: str, tokens: dict[str, int]) -> Iterator[int | str]:
        if not tokens:
            if text:
                yield text
            return
        longest_first = sorted(tokens, key=len, reverse=True)
        at = 0
        for match in regex.finditer("|".join(map(regex.escape, longest_first)), text):
            token = tokens[match[0]]
            flags, start, end = self._rules.added[token], match.start(), match.end()
            if flags & STRIPS_LEFT:
                start = max(at, len(text[:start].rstrip()))
            if flags & STRIPS_RIGHT:
                end += len(text[end:]) - len(text[end:].lstrip())
            if start > at:
                yield text[at:start]
            yield token
            at = end
        if at < len(text):
            yield text[at:]

    def _segment(self, text: str) -> list[int]:
        rules = self._rules
        if rules.kind == "characters":
            if rules.single_spaces:
                text = regex.sub(" +", " ", text.lstrip(" ")).rstrip(" \u2581")
            return self._merged((" " * rules.prefix + text).replace(" ", "\u2581")) if text else []
        if rules.prefix and not text.startswith(" "):
            text = f" {text}"
        parts = regex.split(r"(\p{N})", text) if rules.digits else [text]
        return [token for part in parts for word in self._pattern.findall(part) for token in self._word(word)]

    def _word(self, word: str) -> list[int]:
        if word not in self._cache:
            self._cache[word] = self._merged(word)
        return self._cache[word]

    def _merged(self, word: str) -> list[int]:
        rules = self._rules
        if rules.ignore_merges and word.encode() in self._token_of:
            return [self._token_of[word.encode()]]
        units = [bytes([byte]) for byte in word.encode()] if rules.kind == "bytes" else [c.encode() for c in word]
        ids = [token for unit in units for token in self._unit(unit)]
        while True:
            pairs = [(*found, at) for at in range(len(ids) - 1) if (found := self._pair(ids[at], ids[at + 1]))]
            if not pairs:
                return ids
            _, whole, at = min(pairs, key=lambda pair: (pair[0], pair[2]))
            ids[at : at + 2] = [whole]

    def _pair(self, left: int, right: int) -> tuple[float, int] | None:
        """Return what decides the order of a pair's merge, and what it makes."""
        rules = self._rules
        if rules.scores is None:
            return self._ranks.get((left, right))
        whole = self._token_of.get(rules.pieces[left] + rules.pieces[right])
        return None if whole is None else (-rules.scores[whole], whole)

    def _unit(self, unit: bytes) -> list[int]:
        known = self._token_of.get(unit)
        if known is not None:
            return [known]
        if self._rules.byte_fallback:
            return [self._token_of[f"<0x{byte:02X}>".encode()] for byte in unit]
        return [] if self._rules.unk == NONE else [self._rules.unk]
