"""The C reader's tokenizers as encoders that are judged."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import reader_c

# of run.c
_BOS = 1


class PlainReader:
    """reader_c's Tokenizer of a tokenizer.bin, whose texts begin with token 1. Raises reader_c.ReaderError."""

    def __init__(self, path: Path, vocab_size: int) -> None:
        self._tokenizer = reader_c.Tokenizer(path, vocab_size)

    def encode(self, text: str, *, special: bool) -> list[int]:
        try:
            return self._tokenizer.encode(text, bos=special)
        except reader_c.ReaderError as error:
            raise ValueError(str(error)) from error

    def decode(self, ids: Sequence[int]) -> bytes:
        return self._tokenizer.decode(list(ids), previous=_BOS)


class BlockReader:
    """reader_c's Tokenizer of a v3 file's block, with the rules about bos and eos of its own. Raises
    reader_c.ReaderError."""

    def __init__(self, block: bytes, vocab_size: int) -> None:
        self._tokenizer = reader_c.Tokenizer.from_block(block, vocab_size)

    def encode(self, text: str, *, special: bool) -> list[int]:
        around = {} if special else {"bos": False, "eos": False}
        try:
            return self._tokenizer.encode(text, **around)
        except reader_c.ReaderError as error:
            raise ValueError(str(error)) from error

    def decode(self, ids: Sequence[int]) -> bytes:
        return self._tokenizer.decode(list(ids))
