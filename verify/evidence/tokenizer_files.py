"""Opens a tokenizer's file, whichever of the four formats it has."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, Protocol

from verify.errors import CannotJudgeError
from verify.evidence.untrusted import untrusted
from verify.system.optional_imports import wanted

# What begins a file decides its format; no token of Llama 3 is longer.
_SNIFFED = 4096
_RANKED_LINE = re.compile(rb"[!-~]+ [0-9]+\r?\n")
Format = Literal["byte pairs", "json", "ranks", "sentencepiece"]

_LFS_POINTER = b"version https://git-lfs.github.com/spec/"


class Tokenizer(Protocol):
    """Turns text into token ids, with the special tokens that begin a text, and ids into text without them."""

    def encode(self, text: str) -> list[int]: ...

    def decode(self, ids: Sequence[int]) -> str: ...


def format_of(path: Path) -> Format:
    """Return which of the four formats a file has.

    The content tells the formats apart, except that of the two kinds of JSON: those the name tells apart.
    Raises CannotJudgeError for a file that is no tokenizer by itself.
    """
    if not path.is_file():
        raise CannotJudgeError(f"{path}: expected a tokenizer, found no such file: give one with --tokenizer FILE")
    try:
        with path.open("rb") as file:
            start = file.read(_SNIFFED)
    except OSError as error:
        raise CannotJudgeError(f"{path}: {(error.strerror or str(error)).lower()}") from error
    if start.startswith(_LFS_POINTER):
        raise CannotJudgeError(f"{path}: expected a tokenizer, found a pointer of Git LFS: run git lfs pull")
    if path.name == "merges.txt":
        raise CannotJudgeError(f"{path}: expected a tokenizer, found its merges alone: give the vocab.json beside it")
    if path.name == "vocab.json":
        return "byte pairs"
    if path.suffix == ".json" or start.lstrip().startswith(b"{"):
        return "json"
    return "ranks" if _RANKED_LINE.match(start) else "sentencepiece"


def open_tokenizer(path: Path) -> Tokenizer:
    """Open tokenizer.json, vocab.json with merges.txt, Llama 3's tokenizer.model, or a SentencePiece model.

    Raises CannotJudgeError.
    """
    match format_of(path):
        case "byte pairs":
            from verify.evidence.byte_pairs import BytePairs  # noqa: PLC0415

            return BytePairs(path)
        case "json":
            return _Fast(path)
        case "ranks":
            from verify.evidence.ranked_tokens import RankedTokens  # noqa: PLC0415

            return RankedTokens(path)
    return _SentencePiece(path)


class _Fast:
    """tokenizer.json: Hugging Face's library encodes the whole text and adds its own special tokens."""

    def __init__(self, path: Path) -> None:
        tokenizers = wanted("tokenizers")
        with untrusted(path, "a tokenizer.json, found none that loads"):
            self._tokenizer: Any = tokenizers.Tokenizer.from_file(str(path))
            # a file may ask to truncate or pad texts, which concerns training only
            self._tokenizer.no_truncation()
            self._tokenizer.no_padding()

    def encode(self, text: str) -> list[int]:
        return list(self._tokenizer.encode(text).ids) if text.strip() else []

    def decode(self, ids: Sequence[int]) -> str:
        return str(self._tokenizer.decode(list(ids)))


class _SentencePiece:
    """tokenizer.model of Llama 1 and 2 and llama2.c: each line is encoded after the beginning-of-text token."""

    def __init__(self, path: Path) -> None:
        import sentencepiece  # noqa: PLC0415  # needed only for a text

        with untrusted(path, "a SentencePiece model, found none that loads"):
            self._processor = sentencepiece.SentencePieceProcessor(model_file=str(path))

    def encode(self, text: str) -> list[int]:
        lines = (line for line in text.splitlines() if line.strip())
        return [token for line in lines for token in self._processor.encode(line, add_bos=True)]

    def decode(self, ids: Sequence[int]) -> str:
        return str(self._processor.decode(list(ids)))
