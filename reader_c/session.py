"""Session: a KV cache, so that tokens may come in several calls."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NoReturn

import numpy as np
from numpy.typing import NDArray

from reader_c import errors
from reader_c._reader import ffi, lib
from reader_c.handle import Closing, Handle
from reader_c.options import Activations, Arithmetic, Path, Rope, c_options
from reader_c.status import check

# The most threads that one call may use.
MOST_THREADS = 256


class Session(Closing):
    """A KV cache for a number of positions. Use it as a context manager.

    Tokens may come in several calls; the logits have the bits of a single call (a NaN may have others). A second call
    from another thread at the same time is refused; one Model may have many sessions.

    Args:
        model: an open model.
        positions: of the cache, 1 to max_seq_len.
        threads: one a core by default.

    Attributes:
        capacity, position: of the cache; how many tokens it holds.
        threads: of each call.

    Raises:
        ArgumentError: a number is out of range.
        ReaderMemoryError: the memory cannot be allocated.
        ClosedError: the model is closed.
    """

    def __init__(self, model: Handle, positions: int, threads: int | None = None) -> None:
        if isinstance(positions, bool) or not isinstance(positions, (int, np.integer)):
            raise errors.ArgumentError(model.path, "positions", None, "an integer", repr(positions))
        if not 1 <= positions <= model.config.max_seq_len:
            longest = f"1 to max_seq_len = {model.config.max_seq_len}"
            raise errors.ArgumentError(model.path, "positions", None, longest, str(positions))
        if threads is None:
            threads = len(os.sched_getaffinity(0))
        if (
            isinstance(threads, bool)
            or not isinstance(threads, (int, np.integer))
            or not 1 <= threads <= MOST_THREADS
        ):
            raise errors.ArgumentError(model.path, "threads", None, f"1 to {MOST_THREADS}", repr(threads))
        self._model = model
        self._busy = threading.Lock()
        # held here, so that the file's copy outlives the session even if the model is closed first
        self._pointer = model._open_pointer()
        out, status = ffi.new("rc_session **"), ffi.new("rc_status *")
        check(model.path, lib.rc_session_open(self._pointer, positions, threads, out, status), status)
        self._session: Any = ffi.gc(out[0], lib.rc_session_close)
        self.capacity, self.position, self.threads = int(positions), 0, int(threads)

    def __repr__(self) -> str:
        closed = ", closed" if self._session is None else ""
        return f"<reader_c.Session of {self._model.path!r}: position {self.position} of {self.capacity}{closed}>"

    def forward(
        self,
        tokens: Sequence[int] | NDArray[Any],
        *,
        activations: Activations = "fp32",
        arithmetic: Arithmetic = "fast",
        rope: Rope = "computed",
        path: Path = "best",
    ) -> NDArray[np.float32]:
        """Compute the logits of the next tokens.

        Args:
            tokens: token ids, at most as many as the cache has room for.
            activations, arithmetic, rope, path: as in Model.forward().

        Returns:
            float32 (len(tokens), vocab_size).

        Raises:
            ArgumentError: a token is outside the vocabulary, or the cache has no room for all; nothing has changed.
            ClosedError: the session or the model is closed.
        """
        model = self._model
        ids = model._token_array(tokens)
        chosen = c_options(model.path, activations, arithmetic, rope, path)
        with self._alone() as session:
            room = self.capacity - self.position
            if len(ids) > room:
                raise errors.ArgumentError(model.path, "number of tokens", None, f"at most {room}", str(len(ids)))
            logits = np.empty((len(ids), model.config.vocab_size), np.float32)
            status = ffi.new("rc_status *")
            code = lib.rc_session_forward(
                session,
                ffi.from_buffer("int32_t[]", ids),
                len(ids),
                chosen,
                ffi.from_buffer("float[]", logits, require_writable=True),
                status,
            )
            check(model.path, code, status)
            self.position += len(ids)
            return logits

    def close(self) -> None:
        """Free the cache; a second call does nothing.

        Raises:
            ArgumentError: another thread computes.
        """
        with self._locked():
            if self._session is not None:
                ffi.release(self._session)
                self._session = None

    @contextmanager
    def _alone(self) -> Iterator[Any]:
        """Yield C's rc_session *, for one call at a time and for this package alone. Raises ClosedError."""
        with self._locked():
            if self._session is None:
                raise errors.ClosedError(self._model.path, "session", None, "an open session", "a closed one")
            yield self._session

    @contextmanager
    def _locked(self) -> Iterator[None]:
        """Refuse a second call at the same time: C writes into the session without the interpreter's lock."""
        if not self._busy.acquire(blocking=False):
            raise errors.ArgumentError(self._model.path, "session", None, "one call at a time", "a second one")
        try:
            yield
        finally:
            self._busy.release()

    def __reduce__(self) -> NoReturn:
        # two objects with one cache would move each other's positions, and free it twice
        raise TypeError("a session cannot be copied or pickled")
