"""Session: a KV cache, through which a model's tokens may come in several calls."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NoReturn, Self

import numpy as np
from numpy.typing import NDArray

from reader_c import errors
from reader_c._reader import ffi, lib
from reader_c.choices import Activations, Arithmetic, Path, Rope, options
from reader_c.status import check

if TYPE_CHECKING:
    from reader_c.model import Model

# The most that one call may use.
MOST_THREADS = 256


class Closing:
    """with X() as x: closed at the end."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        self.close()

    def close(self) -> None:
        raise NotImplementedError


class Session(Closing):
    """A KV cache: tokens may come in several calls, and the logits are the bits that one call gives (but for
    which bits a NaN has).

    One call at a time: a second one from another thread is refused. A Model may have many sessions.
    """

    def __init__(self, model: Model, positions: int, threads: int | None = None) -> None:
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
        # held here, so that the copy outlives the session even if the model is closed first
        self._handle = model.open_handle()
        out, status = ffi.new("rc_session **"), ffi.new("rc_status *")
        check(model.path, lib.rc_session_open(self._handle, positions, threads, out, status), status)
        self._session: Any = ffi.gc(out[0], lib.rc_session_close)
        self.capacity, self.position = int(positions), 0

    def forward(
        self,
        tokens: Sequence[int] | NDArray[Any],
        *,
        activations: Activations = "fp32",
        arithmetic: Arithmetic = "fast",
        rope: Rope = "computed",
        path: Path = "best",
    ) -> NDArray[np.float32]:
        """Logits (len(tokens), vocab_size) of the next tokens. Raises ArgumentError and changes nothing
        where a token is outside the vocabulary or the cache is full."""
        model = self._model
        ids = model.token_array(tokens)
        chosen = options(model.path, activations, arithmetic, rope, path)
        with self.alone() as handle:
            room = self.capacity - self.position
            if len(ids) > room:
                raise errors.ArgumentError(model.path, "number of tokens", None, f"at most {room}", str(len(ids)))
            logits = np.empty((len(ids), model.config.vocab_size), np.float32)
            status = ffi.new("rc_status *")
            code = lib.rc_session_forward(
                handle,
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
        with self._locked():
            if self._session is not None:
                ffi.release(self._session)
                self._session = None

    @contextmanager
    def alone(self) -> Iterator[Any]:
        """C's handle, for one call at a time. Not for users."""
        with self._locked():
            if self._session is None:
                raise errors.ClosedError(self._model.path, "session", None, "an open session", "a closed one")
            yield self._session

    @contextmanager
    def _locked(self) -> Iterator[None]:
        """C writes into the session without the interpreter's lock, so a second call must not begin."""
        if not self._busy.acquire(blocking=False):
            raise errors.ArgumentError(self._model.path, "session", None, "one call at a time", "a second one")
        try:
            yield
        finally:
            self._busy.release()

    def __reduce__(self) -> NoReturn:
        # two objects over one cache would move each other's positions, and free it twice
        raise TypeError("a session cannot be copied or pickled")
