"""Read llama2.c's tokenizer.bin and qwen3.c's .tokenizer: scores and pieces, one after another."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from verify.errors import CannotJudgeError
from verify.system.reading import read_given

# The tokenizer of Llama 3 has 3 MB in this format.
_MOST_BYTES = 1 << 28
_ENTRY = struct.Struct("<fI")

Form = Literal["llama2c", "qwen3c"]
_FORMS: tuple[Form, ...] = ("llama2c", "qwen3c")


@dataclass(frozen=True)
class PlainTokens:
    """Holds the content of such a file. longest: its max_token_length. bos, eos: None for llama2.c's."""

    form: Form
    pieces: tuple[bytes, ...]
    scores: tuple[float, ...]
    longest: int
    bos: int | None = None
    eos: int | None = None


class PlainFileError(Exception):
    """A file does not have the format. The message says "field: expected X, found Y"."""


def read_plain(path: Path) -> bytes:
    """Return the bytes of a tokenizer file. Raises CannotJudgeError."""
    try:
        return read_given(path, _MOST_BYTES)
    except OSError as error:
        raise CannotJudgeError(f"{path}: expected a tokenizer, found: {(error.strerror or '').lower()}") from error


def form_of(path: Path, content: bytes, vocab_size: int) -> Form:
    """Return the format in which the content makes sense; where it makes none, what the name stands for."""
    for form in _FORMS:
        try:
            parse_plain(content, form, vocab_size)
        except PlainFileError:
            continue
        return form
    return "qwen3c" if path.suffix == ".tokenizer" else "llama2c"


def parse_plain(content: bytes, form: Form, vocab_size: int) -> PlainTokens:
    """Return the content. Raises PlainFileError unless the entries cover the file to the byte.

    llama2.c's file has as many entries as the model has tokens; qwen3.c's may have fewer.
    """
    head = struct.Struct("<I" if form == "llama2c" else "<III")
    if len(content) < head.size:
        raise PlainFileError(f"size: expected at least {head.size} bytes, found {len(content)}")
    longest, *ids = head.unpack_from(content)
    pieces: list[bytes] = []
    scores: list[float] = []
    at = head.size
    while at < len(content):
        if len(content) - at < _ENTRY.size:
            raise PlainFileError(f"id {len(pieces)}: expected a score and a length, found the end of the file")
        score, size = _ENTRY.unpack_from(content, at)
        at += _ENTRY.size
        if size > len(content) - at:
            raise PlainFileError(f"id {len(pieces)}: expected {size} bytes, found {len(content) - at}")
        pieces.append(content[at : at + size])
        scores.append(score)
        at += size
    if len(pieces) > vocab_size or (form == "llama2c" and len(pieces) != vocab_size):
        most = "at most " if form == "qwen3c" else ""
        raise PlainFileError(f"tokens: expected {most}the model's {vocab_size}, found {len(pieces)}")
    return PlainTokens(form, tuple(pieces), tuple(scores), longest, *ids)
