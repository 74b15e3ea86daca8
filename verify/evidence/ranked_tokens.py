"""Llama 3's tokenizer.model: tiktoken's format, encoded as Meta's own code encodes it.

Source: class Tokenizer of github.com/meta-llama/llama3, llama/tokenizer.py.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Iterator, Sequence
from pathlib import Path

from verify.errors import CannotJudgeError
from verify.evidence.untrusted import untrusted
from verify.system.optional_imports import wanted
from verify.system.reading import read_given

# Llama 3's has 2 MB.
_MOST_BYTES = 1 << 26
_PIECES = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*"
    r"|\s*[\r\n]+|\s+(?!\S)|\s+"
)
_ENTRY = re.compile(rb"([A-Za-z0-9+/]+={0,2}) ([0-9]{1,9})")
# Meta's code cuts a text here, because tiktoken fails on longer ones; a token never crosses a cut.
_MOST_CHARACTERS = 400_000
_LONGEST_RUN = 25_000


class RankedTokens:
    """Each line of the file is a token in base64 and its rank, which is its id. The special tokens have no line: they
    follow the last rank, and the first of them begins a text. ranks: token -> rank. Raises CannotJudgeError."""

    def __init__(self, path: Path) -> None:
        self.ranks = _ranks(path)
        self._begin_of_text = len(self.ranks)
        tiktoken = wanted("tiktoken", "for Llama 3's tokenizer.model")
        with untrusted(path, "a tokenizer of tiktoken's format, found none that loads"):
            self._encoding = tiktoken.Encoding(
                name="Llama 3", pat_str=_PIECES, mergeable_ranks=self.ranks, special_tokens={}
            )

    def encode(self, text: str) -> list[int]:
        """What looks like a special token in a text is plain text, as in Meta's code."""
        return [self._begin_of_text, *self.encode_plain(text)] if text.strip() else []

    def encode_plain(self, text: str) -> list[int]:
        """Encode a text, also one of white space alone, without the token that begins it."""
        return [token for part in _parts(text) for token in self._encoding.encode_ordinary(part)]

    def decode(self, ids: Sequence[int]) -> str:
        return str(self._encoding.decode([token for token in ids if token < self._begin_of_text]))


def _parts(text: str) -> Iterator[str]:
    """Cut a text into the parts that are encoded by themselves."""
    for at in range(0, len(text), _MOST_CHARACTERS):
        yield from _without_long_runs(text[at : at + _MOST_CHARACTERS])


def _without_long_runs(text: str) -> Iterator[str]:
    """Cut wherever more than _LONGEST_RUN characters in a row are all white space, or all not."""
    start = 0
    for run in re.finditer(r"\s+|\S+", text):
        for cut in range(run.start() + _LONGEST_RUN, run.end(), _LONGEST_RUN):
            yield text[start:cut]
            start = cut
    yield text[start:]


def _ranks(path: Path) -> dict[bytes, int]:
    """Return token -> rank. Raises CannotJudgeError unless the ranks are 0, 1, 2, ... and every byte is a token."""
    try:
        lines = read_given(path, _MOST_BYTES).splitlines()
    except OSError as error:
        raise CannotJudgeError(f"{path}: expected a tokenizer, found: {(error.strerror or '').lower()}") from error
    ranks: dict[bytes, int] = {}
    for number, line in enumerate(lines, start=1):
        if not line:
            continue
        token, rank = _entry(path, number, line)
        if rank != len(ranks):
            raise CannotJudgeError(f"{path}: line {number}: rank: expected {len(ranks)}, found {rank}")
        if token in ranks:
            raise CannotJudgeError(f"{path}: line {number}: token: expected a new one, found that of {ranks[token]}")
        ranks[token] = rank
    missing = [byte for byte in range(256) if bytes([byte]) not in ranks]
    if missing:
        raise CannotJudgeError(f"{path}: expected every byte as a token, found none for byte {missing[0]}")
    return ranks


def _entry(path: Path, number: int, line: bytes) -> tuple[bytes, int]:
    match = _ENTRY.fullmatch(line)
    # base64 writes four characters for each three bytes
    if not match or len(match[1]) % 4:
        raise CannotJudgeError(f"{path}: line {number}: expected a token in base64 and its rank, found {line[:40]!r}")
    return base64.b64decode(match[1]), int(match[2])
