"""Tokenizer: llama2.c's tokenizer.bin, text to token ids and back, as run.c does it."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Sequence
from typing import Any, NoReturn

import numpy as np
from numpy.typing import NDArray

from reader_c import errors
from reader_c._reader import ffi, lib
from reader_c.status import check

# run.c's own ids
BOS, EOS = 1, 2


class Tokenizer:
    """A checked tokenizer.bin, for a model of vocab_size tokens. Threads may share it.

    The file does not say how many tokens it has, so it must have exactly those of the model.

    Args:
        path: the file.
        vocab_size: the number of the model's tokens.

    Raises:
        InvalidFileError: the file is at fault, also for two equal pieces, of which run.c may find either.
        ReaderSystemError: the file cannot be read.
        ArgumentError: no such file can have this vocab_size.
    """

    def __init__(self, path: str | os.PathLike[str], vocab_size: int) -> None:
        self.path = os.fsdecode(path)
        if isinstance(vocab_size, bool) or not isinstance(vocab_size, (int, np.integer)):
            raise errors.ArgumentError(self.path, "vocab_size", None, "an integer", repr(vocab_size))
        # no vocabulary is larger, and C takes 64 bits
        self.vocab_size = min(max(int(vocab_size), -1), 1 << 62)
        content = _read(self.path)
        out, status = ffi.new("rc_tokenizer **"), ffi.new("rc_status *")
        code = lib.rc_tokenizer_open(ffi.from_buffer(content), len(content), self.vocab_size, out, status)
        check(self.path, code, status, remark=_remark(content))
        self._pointer: Any = ffi.gc(out[0], lib.rc_tokenizer_close)

    def encode(self, text: str | bytes, *, bos: bool = False, eos: bool = False) -> list[int]:
        """Split a text into tokens, as run.c does.

        Args:
            text: the text, or bytes in any encoding.
            bos, eos: begin with token 1, end with token 2.

        Returns:
            The token ids.

        Raises:
            ArgumentError: the text has a zero byte, which ends a text in C, or a byte whose token the vocabulary
                lacks; or the vocabulary has no piece of one space.
        """
        content = text.encode("utf-8", "surrogateescape") if isinstance(text, str) else bytes(text)
        tokens = np.empty(len(content) + 3, np.int32)
        count, status = ffi.new("int64_t *"), ffi.new("rc_status *")
        room = ffi.from_buffer("int32_t[]", tokens, require_writable=True)
        code = lib.rc_tokenizer_encode(
            self._pointer, ffi.from_buffer(content), len(content), bool(bos), bool(eos), room, count, status
        )
        check(self.path, code, status, remark="")
        return tokens[: count[0]].tolist()  # type: ignore[no-any-return]

    def decode(self, ids: Sequence[int] | NDArray[Any], *, previous: int | None = None, shown: bool = False) -> bytes:
        """Join the pieces of tokens to a text, in which a piece such as "<0x0A>" is that byte.

        Args:
            ids: the token ids.
            previous: the id before them.
            shown: omit what run.c does not print, a byte on its own that is neither printable ASCII nor white space.

        Returns:
            The text, without token 1, and without one space that begins the token after it.

        Raises:
            ArgumentError: an id is outside the vocabulary.
        """
        tokens = self._ids(ids)
        before = -1 if previous is None else int(self._ids([previous])[0])
        size = self._text(tokens, before, shown, None)
        text = bytearray(size)
        self._text(tokens, before, shown, text)
        return bytes(text)

    def _text(self, tokens: NDArray[np.int32], before: int, shown: bool, text: bytearray | None) -> int:
        """Return the size of the text, and write it where there is room for it."""
        size, status = ffi.new("int64_t *"), ffi.new("rc_status *")
        given = ffi.from_buffer("int32_t[]", tokens)
        room = ffi.NULL if text is None else ffi.from_buffer("uint8_t[]", text, require_writable=True)
        code = lib.rc_tokenizer_decode(self._pointer, before, given, len(tokens), bool(shown), room, size, status)
        check(self.path, code, status)
        return int(size[0])

    def _ids(self, ids: Sequence[int] | NDArray[Any]) -> NDArray[np.int32]:
        """Return ids as C takes them; those that 32 bits cannot hold are refused here."""
        given = np.asarray(ids)
        if given.ndim != 1 or (given.size and given.dtype.kind not in "iu"):
            raise errors.ArgumentError(self.path, "tokens", None, "one dimension of integers", repr(ids)[:80])
        outside = np.flatnonzero((given < 0) | (given >= self.vocab_size))
        if outside.size:
            at = int(outside[0])
            raise errors.ArgumentError(self.path, "token", at, f"0 to {self.vocab_size - 1}", str(given[at]))
        return np.array(given, np.int32, order="C")

    def __repr__(self) -> str:
        return f"Tokenizer({self.path!r}, {self.vocab_size})"

    def __reduce__(self) -> NoReturn:
        # a copy would free C's memory twice
        raise TypeError("a tokenizer cannot be copied or pickled")


def _read(path: str) -> bytes:
    number = errno.ENODEV
    try:
        with open(path, "rb", opener=_without_waiting) as file:  # Path.open takes no opener
            if stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                return file.read()
    except OSError as error:
        number = error.errno or errno.EIO
    except ValueError as error:
        raise errors.ArgumentError(repr(path), "path", None, "no null byte", "one") from error
    raise errors.ReaderSystemError(path, "tokenizer", number)


def _without_waiting(path: str, flags: int) -> int:
    # opening a FIFO must not wait for a writer
    return os.open(path, flags | os.O_NONBLOCK)


def _remark(content: bytes) -> str:
    """Return, in brackets, which other kind of tokenizer a refused file is likely to be."""
    if content.lstrip()[:1] == b"{":
        return " (is it a tokenizer.json?)"
    # a SentencePiece model begins with a piece, a field of two lengths; max_token_length has two high bytes of zero
    if content[:1] == b"\n" and content[2:4] != b"\0\0":
        return " (is it a SentencePiece model?)"
    return " (is it the tokenizer of another model?)"
