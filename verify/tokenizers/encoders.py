"""The C reader's tokenizer as an encoder that is judged."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import reader_c

# of run.c
_BOS = 1


class ReaderEncoder:
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
