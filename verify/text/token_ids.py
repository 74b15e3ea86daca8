"""The token ids of a text by any tokenizer, that of llama2.c included, and how many bytes they stand for."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

import reader_c
from verify.errors import CannotJudgeError
from verify.evidence.tokenizers import decode, encode
from verify.system.reading import read_given

_MOST_TEXT = 1 << 30
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"
# in this order, like that of the sources: what a file's directory holds
_NAMES = ("tokenizer.bin", "tokenizer.json", "tokenizer.model", "vocab.json")


@dataclass(frozen=True)
class TokenIds:
    """Holds the ids of a whole text. content: its bytes. first: how many of them the first token stands for."""

    ids: NDArray[np.int64]
    content: bytes
    first: int


def beside(file: Path) -> Path:
    """Return the tokenizer in a file's directory. Raises CannotJudgeError without any."""
    for name in _NAMES:
        if (file.parent / name).is_file():
            return file.parent / name
    raise CannotJudgeError(
        f"{file.parent}: expected a tokenizer beside {file.name}, found none: give one with --tokenizer FILE"
    )


def token_ids(text: Path, tokenizer: Path, vocab_size: int) -> TokenIds:
    """Encode a text: by tokenizer.bin as run.c does, otherwise as the evidence of a verdict is encoded.

    Raises CannotJudgeError, or reader_c.ReaderError for a tokenizer.bin that is not the model's.
    """
    content = _read(text)
    if is_llama2c(tokenizer):
        opened = reader_c.Tokenizer(tokenizer, vocab_size)
        if (zero := content.find(0)) >= 0:
            raise CannotJudgeError(
                f"{text}: byte {zero}: expected a text, found a zero byte, which llama2.c's tokenizer cannot encode"
            )
        return TokenIds(np.array(opened.encode(content, bos=True), np.int64), content, first=0)
    ids = encode(text, tokenizer, vocab_size)
    return TokenIds(ids, content, len(decode(tokenizer, ids[:1].tolist()).encode()))


def ids_by_block(text: Path, tokenizer: reader_c.Tokenizer) -> TokenIds:
    """Encode a text as ordinary text by a v3 file's own tokenizer. Raises CannotJudgeError."""
    content = _read(text)
    ids = tokenizer.encode(content, eos=False, special=False)
    begun = bool(ids) and ids[0] == tokenizer.bos and tokenizer.encode(b"", eos=False) == ids[:1]
    first = 0 if begun else len(tokenizer.decode(ids[:1]))
    return TokenIds(np.array(ids, np.int64), content, first)


def is_llama2c(tokenizer: Path) -> bool:
    """Return whether a file begins like a tokenizer.bin: with a number of 32 bits below 65536, as no text does."""
    try:
        with tokenizer.open("rb") as file:
            start = file.read(4)
    except OSError:
        return False
    return len(start) == 4 and start[2:] == b"\0\0"


def _read(text: Path) -> bytes:
    try:
        return read_given(text, _MOST_TEXT).removeprefix(_BYTE_ORDER_MARK)
    except OSError as error:
        found = "a directory" if isinstance(error, IsADirectoryError) else (error.strerror or "").lower()
        raise CannotJudgeError(f"{text}: expected a text, found {found}") from error
