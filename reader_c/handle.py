"""Handle: a file that C has checked and loaded, what its header says, and its bytes."""

from __future__ import annotations

import os
from collections.abc import Sequence
from functools import partial
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from reader_c import errors
from reader_c._reader import ffi, lib
from reader_c.config import FORMATS, config_of
from reader_c.status import check


class Closing:
    """A context manager that calls close() at the end of the block."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        self.close()

    def close(self) -> None:
        """Release what is held; a second call does nothing.

        Raises:
            ArgumentError: another thread still uses it.
        """
        raise NotImplementedError


class Handle(Closing):
    """The owner of C's rc_model. Model adds the tensors and passes to it; Session and Walk need no more than this.

    Threads may share it. Raises InvalidFileError where the file is at fault, ReaderSystemError where it cannot be
    opened, ArgumentError for a path with a null byte.
    """

    def __init__(self, path: str | os.PathLike[str], *, mapped: bool | None) -> None:
        self.path = os.fsdecode(path)
        encoded = os.fsencode(path)
        if b"\0" in encoded:
            raise errors.ArgumentError(repr(self.path), "path", None, "no null byte", "one")
        out, status = ffi.new("rc_model **"), ffi.new("rc_status *")
        if mapped is None:
            mapped = not _fits(self.path)
        self.mapped = bool(mapped)
        check(self.path, lib.rc_open(encoded, self.mapped, out, status), status)
        self._pointer: Any = ffi.gc(out[0], lib.rc_close)
        raw = lib.rc_model_config(self._pointer)
        self.format: str = FORMATS[raw.format]
        self.file_size: int = raw.file_size
        self.head_size: int = raw.head_size
        self.alignment: int = raw.alignment
        self.config = config_of(self._pointer)

    def close(self) -> None:
        """Release the file; a second call does nothing. Arrays that were handed out stay valid."""
        self._pointer = None

    @property
    def closed(self) -> bool:
        """Return whether close() was called."""
        return self._pointer is None

    def _open_pointer(self) -> Any:
        """Return C's rc_model *, for this package alone. Raises ClosedError."""
        if self._pointer is None:
            raise errors.ClosedError(self.path, "model", None, "an open model", "a closed one")
        return self._pointer

    def _read(self, offset: int, size: int) -> memoryview:
        """Return bytes of the file, read-only and without a copy. They stay valid after close()."""
        pointer = self._open_pointer()
        # the destructor holds the pointer, and with it the copy, for as long as a view of these bytes lives
        start = ffi.gc(ffi.cast("uint8_t *", lib.rc_model_bytes(pointer)) + offset, partial(_keep_alive, pointer))
        # read-only at the root: an array over a writable buffer could be made writable again
        return memoryview(ffi.buffer(start, size)).toreadonly()

    def _token_array(self, tokens: Sequence[int] | NDArray[Any]) -> NDArray[np.int32]:
        """Return tokens as C takes them: a new int32 array of one dimension.

        Raises ArgumentError for no tokens, other dimensions, other types, and ids outside the vocabulary.
        """
        ids = np.asarray(tokens)
        if ids.ndim != 1:
            raise errors.ArgumentError(self.path, "tokens", None, "one dimension", f"{ids.ndim}")
        if ids.size == 0:
            raise errors.ArgumentError(self.path, "number of tokens", None, "at least 1", "0")
        if ids.dtype.kind not in "iu":
            raise errors.ArgumentError(self.path, "tokens", None, "integers", str(ids.dtype))
        # before narrowing, so that no id wraps into the vocabulary
        outside = np.flatnonzero((ids < 0) | (ids >= self.config.vocab_size))
        if outside.size:
            at = int(outside[0])
            raise errors.ArgumentError(self.path, "token", at, f"0 to {self.config.vocab_size - 1}", str(ids[at]))
        # always a copy: C reads it while other threads may write to the caller's array
        return np.array(ids, np.int32, order="C")


def _keep_alive(_pointer: Any, _freed: Any) -> None:
    """Do nothing: this destructor exists for the reference that it holds until it is called."""


def _fits(path: str) -> bool:
    """Return whether a copy of the file takes at most half of the memory; True where it is unknown."""
    try:
        size = os.stat(path).st_size  # noqa: PTH116  # a path of any bytes
    except OSError:
        return True
    return size <= os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2
