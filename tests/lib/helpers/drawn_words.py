"""Texts for tokenizers: of many scripts, of white space, digits and marks, and of what a tokenizer has pieces for."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

# code points of scripts that people write, and of what is hard: controls, marks, joiners, private use, emoji
RANGES = [(0, 128), (0x80, 0x250), (0x300, 0x600), (0x600, 0x780), (0x900, 0xE00), (0x1100, 0x1200), (0x1D00, 0x2100)]
RANGES += [(0x2100, 0x2C00), (0x3040, 0x9FFF), (0xA480, 0xAC00), (0xAC00, 0xD7A4), (0xE000, 0xE010), (0xF900, 0xFE10)]
RANGES += [(0xFE10, 0x10000), (0x10000, 0x12000), (0x1D100, 0x1D200), (0x1E000, 0x1FAFF), (0x2F800, 0x2FA20)]
RANGES += [(0x10000, 0x110000), (0xE0000, 0xE0200)]
MARKS = (
    "e\u0301\u0327\u0345\u0334a\u030a\u05b0\u1161\u1112\u11a8\uac00\u09c7\u09be\u0958\U0001d157\U0001d165\u212b\u0344"
)
SPACES = " \t\n\r\v\f\x1c\x85\xa0\u1680\u2003\u2028\u202f\u205f\u3000\u200b "
HARD = "''sStTrReEvVmMlLdD\u017f\u212a 0123\u0663\u00bd\u2167 aZ\u00e9\u00df\u65e5.,!?-_=;\n\r\t  \u200d"


def drawn_text(rng: np.random.Generator, pieces: Sequence[str], prose: str) -> str:
    """Return a text of one kind of eight, of up to 64 characters or 24 pieces."""
    size, kind = int(rng.integers(0, 64)), int(rng.integers(8))
    if kind == 0:
        codes = rng.integers(0, 0x110000 - 0x800, size)
        return "".join(chr(code if code < 0xD800 else code + 0x800) for code in codes.tolist())
    if kind == 1:
        at = int(rng.integers(len(prose) - size))
        return prose[at : at + size]
    if kind in {2, 4, 5}:
        letters = (HARD, MARKS + HARD[-8:], HARD + SPACES, SPACES + "a1.")[int(rng.integers(4))]
        drawn, many = (pieces, size * 3 // 8) if kind == 2 else (letters, size)
        return "".join(drawn[int(at)] for at in rng.integers(0, len(drawn), many))
    if kind == 3:
        low, high = RANGES[int(rng.integers(len(RANGES)))]
        return _characters(rng.integers(low, high, size).tolist())
    if kind == 6:
        words = [prose[int(at) : int(at) + 7] for at in rng.integers(0, len(prose) - 7, 6)]
        between = [SPACES[int(at)] + HARD[int(other)] for at, other in rng.integers(0, 17, (6, 2))]
        return "".join(part for pair in zip(words, between, strict=True) for part in pair)
    return _characters([int(rng.integers(*RANGES[at])) for at in rng.integers(0, len(RANGES), size)])


def _characters(codes: Sequence[int]) -> str:
    return "".join(chr(code) for code in codes if not 0xD800 <= code < 0xE000)
