"""Writes tokenizer blocks of v3, and makes them of Hugging Face's tokenizer.json: code of the tests' own, which
neither the exporter nor the reader shares."""

from __future__ import annotations

import dataclasses
import json
import struct
from collections.abc import Sequence
from typing import Any

import tokenizers

WHOLE, BEGINS, ENDS, NFC, DIGITS, PREFIX, BYTE_PIECES, SINGLE_SPACES = (1 << bit for bit in range(8))
SPECIAL, LEFT, RIGHT, SINGLE, NORMALIZED = (1 << bit for bit in range(5))
NO_SPLIT, GPT2, LLAMA3, QWEN2 = range(4)

_WORDS = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+"
_REST = r" ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
LLAMA3_PATTERN = rf"{_WORDS}|\p{{N}}{{1,3}}|{_REST}"
QWEN2_PATTERN = LLAMA3_PATTERN.replace(r"\p{N}{1,3}", r"\p{N}")
GPT2_PATTERN = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"


@dataclasses.dataclass(frozen=True)
class Block:
    """What a tokenizer block says."""

    kind: int = 1
    flags: int = 0
    pretokenizer: int = NO_SPLIT
    pieces: Sequence[bytes] = ()
    merges: Sequence[tuple[int, int]] = ()
    added: Sequence[tuple[int, int]] = ()
    bos: int = -1
    unk: int = -1
    eos: int = -1
    eos_ids: Sequence[int] = ()
    template: bytes = b""
    scores: Sequence[float] | None = None

    def content(self) -> bytes:
        """Return the block's bytes, whether or not they keep its rules."""
        pieces = b"".join(self.pieces)
        head = (self.kind, self.flags, self.pretokenizer, len(self.pieces), len(self.merges), len(self.added))
        rest = (len(self.eos_ids), self.eos, len(self.template), self.scores is not None, len(pieces))
        ends, end = [], 0
        for piece in self.pieces:
            end += len(piece)
            ends.append(end)
        written = struct.pack("<6I2iIi2IQ8x", *head, self.bos, self.unk, *rest)
        written += struct.pack(f"<{len(ends)}I", *ends) + pieces + bytes(-len(pieces) % 4)
        if self.scores is not None:
            written += struct.pack(f"<{len(self.scores)}f", *self.scores)
        for pair in (*self.merges, *self.added):
            written += struct.pack("<2I", *pair)
        written += struct.pack(f"<{len(self.eos_ids)}I", *self.eos_ids) + self.template
        return written + bytes(-len(written) % 64)


def byte_of_letter() -> dict[str, int]:
    """Return which byte each letter of a byte-level vocabulary stands for."""
    plain = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = [byte for byte in range(256) if byte not in plain]
    return {chr(byte): byte for byte in plain} | {chr(256 + number): byte for number, byte in enumerate(others)}


def from_tokenizer(tokenizer: tokenizers.Tokenizer, **more: Any) -> Block:
    """Return the block of a BPE tokenizer whose parts are among those that this function knows."""
    stored = json.loads(tokenizer.to_str())
    model, added = stored["model"], stored["added_tokens"]
    assert model["type"] == "BPE"
    assert not model["continuing_subword_prefix"]
    assert not model["end_of_word_suffix"]
    is_bytes = any(part["type"] == "ByteLevel" for part in _sequence(stored["pre_tokenizer"], "pretokenizers"))
    token_of = dict(model["vocab"])
    pieces = [b""] * (1 + max([*token_of.values(), *(token["id"] for token in added)]))
    letters = byte_of_letter()
    for text, token in token_of.items():
        pieces[token] = (
            bytes(map(letters.__getitem__, text)) if is_bytes and set(text) <= set(letters) else text.encode()
        )
    for token in added:
        pieces[token["id"]] = token["content"].encode()
    merges = [pair if isinstance(pair, list) else pair.split(" ") for pair in model["merges"]]
    flags, pretokenizer = _parts(stored)
    return Block(
        **{
            "kind": 1 if is_bytes else 2,
            "flags": flags | WHOLE * bool(model["ignore_merges"]) | BYTE_PIECES * bool(model["byte_fallback"]),
            "pretokenizer": pretokenizer,
            "pieces": pieces,
            "merges": [(token_of[left], token_of[right]) for left, right in merges],
            "added": sorted((token["id"], _added_flags(token)) for token in added),
            "unk": -1 if is_bytes else token_of.get(model["unk_token"], -1),
            **more,
        }
    )


def _added_flags(token: dict[str, Any]) -> int:
    names = ("special", "lstrip", "rstrip", "single_word", "normalized")
    return sum(bool(token[name]) << bit for bit, name in enumerate(names))


def _parts(stored: dict[str, Any]) -> tuple[int, int]:
    """Return flags and pre-tokenizer for a tokenizer's normalizers and pre-tokenizers."""
    flags, pretokenizer = 0, NO_SPLIT
    for part in _sequence(stored["normalizer"], "normalizers"):
        flags |= {"NFC": NFC, "Prepend": PREFIX, "Replace": 0}[part["type"]]
    for part in _sequence(stored["pre_tokenizer"], "pretokenizers"):
        if part["type"] == "Split":
            pretokenizer = {LLAMA3_PATTERN: LLAMA3, QWEN2_PATTERN: QWEN2, GPT2_PATTERN: GPT2}[
                part["pattern"]["Regex"]
            ]
        elif part["type"] == "Digits":
            flags |= DIGITS * part["individual_digits"]
        else:
            assert part["type"] == "ByteLevel"
            pretokenizer = GPT2 if part["use_regex"] else pretokenizer
            flags |= PREFIX * part["add_prefix_space"]
    return flags, pretokenizer


def _sequence(part: dict[str, Any] | None, name: str) -> list[dict[str, Any]]:
    if part is None:
        return []
    return list(part[name]) if part["type"] == "Sequence" else [part]
