"""Decides which file of a directory is the tokenizer."""

from __future__ import annotations

from pathlib import Path

_BYTE_PAIRS = ("vocab.json", "merges.txt")
# What vocab.json is read with, besides its merges.
_WITH_BYTE_PAIRS = ("tokenizer_config.json", "added_tokens.json", "special_tokens_map.json")


def tokenizer_beside(directory: Path) -> Path:
    """Return where a directory's tokenizer is: tokenizer.json, else tokenizer.model, else vocab.json with merges.txt.
    It need not exist."""
    fast, byte_pairs = directory / "tokenizer.json", [directory / name for name in _BYTE_PAIRS]
    if fast.is_file():
        return fast
    model = directory / "tokenizer.model"
    return byte_pairs[0] if not model.is_file() and all(path.is_file() for path in byte_pairs) else model


def names_read_with(tokenizer: Path) -> tuple[str, ...]:
    """Return the names of all files beside a tokenizer that are read with it, its own first."""
    return (*_BYTE_PAIRS, *_WITH_BYTE_PAIRS) if tokenizer.name == _BYTE_PAIRS[0] else (tokenizer.name,)
