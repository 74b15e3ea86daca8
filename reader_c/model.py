"""Model: a file that the C reader has checked and mapped, as Python sees it."""

from __future__ import annotations

import os
import re
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal, NoReturn, Self

import numpy as np
from numpy.typing import NDArray

from reader_c import errors
from reader_c._reader import ffi, lib

Activations = Literal["fp32", "q8"]
Arithmetic = Literal["mirror", "fast"]
Rope = Literal["computed", "file"]

FORMATS = {lib.RC_V0: "v0", lib.RC_V1: "v1", lib.RC_V1_FP32: "v1-fp32", lib.RC_V2: "v2"}
_ACTIVATIONS = {"fp32": lib.RC_ACTIVATIONS_FP32, "q8": lib.RC_ACTIVATIONS_Q8}
_ARITHMETICS = {"mirror": lib.RC_MIRROR, "fast": lib.RC_FAST}
_ROPES = {"computed": lib.RC_ROPE_COMPUTED, "file": lib.RC_ROPE_FROM_FILE}

_IN_LAYERS = {
    "attention_norm": lib.RC_ATTENTION_NORM,
    "attention.wq": lib.RC_WQ,
    "attention.wk": lib.RC_WK,
    "attention.wv": lib.RC_WV,
    "attention.wo": lib.RC_WO,
    "ffn_norm": lib.RC_FFN_NORM,
    "feed_forward.w1": lib.RC_W1,
    "feed_forward.w2": lib.RC_W2,
    "feed_forward.w3": lib.RC_W3,
}
_LAYER_NAME = re.compile(r"layers\.(0|[1-9][0-9]{0,9})\.(.+)\.weight")
_BEFORE_LAYERS = {"tok_embeddings.weight": lib.RC_TOK_EMBEDDINGS}
_AFTER_LAYERS = {
    "norm.weight": lib.RC_NORM,
    "output.weight": lib.RC_OUTPUT,
    "freqs_cos": lib.RC_FREQS_COS,
    "freqs_sin": lib.RC_FREQS_SIN,
}


@dataclass(frozen=True)
class Config:
    """The header, field by field. vocab_size is positive whatever sign the file has; group_size is 0 in fp32."""

    dim: int
    hidden_dim: int
    n_layers: int
    n_heads: int
    n_kv_heads: int
    vocab_size: int
    max_seq_len: int
    shared_classifier: bool
    group_size: int


@dataclass(frozen=True)
class Span:
    """Where one part of a tensor stands in the file. part: "fp32", "int8" or "scale"."""

    name: str
    part: str
    shape: tuple[int, ...]
    offset: int
    nbytes: int


@dataclass(frozen=True, eq=False)
class QuantizedTensor:
    """A Q8_0 tensor as the file holds it: q int8 (out, in), scale float32 (out, in / group_size), read-only."""

    q: NDArray[np.int8]
    scale: NDArray[np.float32]
    group_size: int

    @property
    def shape(self) -> tuple[int, ...]:
        return self.q.shape

    def dequantize(self) -> NDArray[np.float32]:
        """q * scale, one float32 rounding each: (out, in)."""
        groups = self.q.reshape(*self.scale.shape, self.group_size).astype(np.float32)
        return (groups * self.scale[..., None]).reshape(self.q.shape)


def _keep_alive(_handle: Any, _freed: Any) -> None:
    """A destructor that does nothing: what counts is what it holds until it is called."""


class _Closing:
    """with X() as x: closed at the end."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        self.close()

    def close(self) -> None:
        raise NotImplementedError


class Session(_Closing):
    """A KV cache: tokens may come in several calls, and the logits are the bits that one call gives (but for
    which bits a NaN has).

    One call at a time: a second one from another thread is refused. A Model may have many sessions.
    """

    def __init__(self, model: Model, positions: int) -> None:
        if isinstance(positions, bool) or not isinstance(positions, (int, np.integer)):
            raise errors.ArgumentError(model.path, "positions", None, "an integer", repr(positions))
        if not 1 <= positions <= model.config.max_seq_len:
            longest = f"1 to max_seq_len = {model.config.max_seq_len}"
            raise errors.ArgumentError(model.path, "positions", None, longest, str(positions))
        self._model = model
        self._busy = threading.Lock()
        # held here, so that the map outlives the session even if the model is closed first
        self._handle = model._open_handle()
        out, status = ffi.new("rc_session **"), ffi.new("rc_status *")
        model._check(lib.rc_session_open(self._handle, positions, out, status), status)
        self._session: Any = ffi.gc(out[0], lib.rc_session_close)
        self.capacity, self.position = int(positions), 0

    def forward(
        self,
        tokens: Sequence[int] | NDArray[Any],
        *,
        activations: Activations = "fp32",
        arithmetic: Arithmetic = "fast",
        rope: Rope = "computed",
    ) -> NDArray[np.float32]:
        """Logits (len(tokens), vocab_size) of the next tokens. Raises ArgumentError and changes nothing
        where a token is outside the vocabulary or the cache is full."""
        model = self._model
        ids = model._token_array(tokens)
        chosen = (
            model._choose("activations", _ACTIVATIONS, activations),
            model._choose("arithmetic", _ARITHMETICS, arithmetic),
            model._choose("rope", _ROPES, rope),
        )
        with self._alone():
            if self._session is None:
                raise errors.ClosedError(model.path, "session", None, "an open session", "a closed one")
            room = self.capacity - self.position
            if len(ids) > room:
                raise errors.ArgumentError(model.path, "number of tokens", None, f"at most {room}", str(len(ids)))
            logits = np.empty((len(ids), model.config.vocab_size), np.float32)
            status = ffi.new("rc_status *")
            code = lib.rc_session_forward(
                self._session,
                ffi.from_buffer("int32_t[]", ids),
                len(ids),
                *chosen,
                ffi.from_buffer("float[]", logits, require_writable=True),
                status,
            )
            model._check(code, status)
            self.position += len(ids)
            return logits

    def close(self) -> None:
        with self._alone():
            if self._session is not None:
                ffi.release(self._session)
                self._session = None

    @contextmanager
    def _alone(self) -> Iterator[None]:
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


class Model(_Closing):
    """A checked, mapped file. Use as a context manager; safe to share between threads.

    Arrays that it handed out keep the map alive, so they stay valid after close().
    Raises InvalidFileError where the file is at fault, ReaderSystemError where it cannot be opened.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = os.fsdecode(path)
        encoded = os.fsencode(path)
        if b"\0" in encoded:
            raise errors.ArgumentError(repr(self.path), "path", None, "no null byte", "one")
        out, status = ffi.new("rc_model **"), ffi.new("rc_status *")
        self._check(lib.rc_open(encoded, out, status), status)
        self._handle: Any = ffi.gc(out[0], lib.rc_close)
        raw = lib.rc_model_config(self._handle)
        self.format: str = FORMATS[raw.format]
        self.file_size: int = raw.file_size
        self.config = Config(
            dim=raw.dim,
            hidden_dim=raw.hidden_dim,
            n_layers=raw.n_layers,
            n_heads=raw.n_heads,
            n_kv_heads=raw.n_kv_heads,
            vocab_size=raw.vocab_size,
            max_seq_len=raw.max_seq_len,
            shared_classifier=bool(raw.shared_classifier),
            group_size=raw.group_size,
        )

    @property
    def names(self) -> tuple[str, ...]:
        """Every tensor in the file; a shared classifier has no entry of its own."""
        handle = self._open_handle()
        after = (n for n, kind in _AFTER_LAYERS.items() if lib.rc_model_tensor(handle, kind).storage != lib.RC_ABSENT)
        layers = range(self.config.n_layers)
        return (
            *_BEFORE_LAYERS,
            *(f"layers.{layer}.{name}.weight" for layer in layers for name in _IN_LAYERS),
            *after,
        )

    def _place(self, name: str) -> tuple[int, int]:
        """(kind, layer) of a tensor. Parsed, not looked up: a small file may claim very many layers."""
        match = _LAYER_NAME.fullmatch(name)
        if match:
            kind, layer = _IN_LAYERS.get(match[2]), int(match[1])
        else:
            kind, layer = (_BEFORE_LAYERS | _AFTER_LAYERS).get(name), 0
        present = kind is not None and lib.rc_model_tensor(self._open_handle(), kind).storage != lib.RC_ABSENT
        if kind is None or not present or layer >= self.config.n_layers:
            raise KeyError(name)
        return kind, layer

    def tensor(self, name: str) -> NDArray[np.float32] | QuantizedTensor:
        """A read-only, zero-copy array of float32, or the int8 and scales of a Q8_0 tensor.

        Raises KeyError for a name that the file does not have.
        """
        arrays = {span.part: self._view(span) for span in self.spans(name)}
        if "fp32" in arrays:
            return arrays["fp32"]
        return QuantizedTensor(arrays["int8"], arrays["scale"], self.config.group_size)

    def spans(self, name: str) -> tuple[Span, ...]:
        """Where a tensor's parts stand in the file."""
        handle = self._open_handle()
        kind, layer = self._place(name)
        t = lib.rc_model_tensor(handle, kind)
        is_vector = kind in (lib.RC_ATTENTION_NORM, lib.RC_FFN_NORM, lib.RC_NORM)
        shape = (t.cols,) if is_vector else (t.rows, t.cols)
        at = t.offset + layer * t.stride
        if t.storage == lib.RC_FP32:
            return (Span(name, "fp32", shape, at, t.rows * t.cols * 4),)
        groups = t.cols // self.config.group_size
        return (
            Span(name, "int8", shape, at, t.rows * t.cols),
            Span(name, "scale", (t.rows, groups), t.scale_offset + layer * t.scale_stride, t.rows * groups * 4),
        )

    @property
    def content(self) -> memoryview:
        """Every byte of the file as it is mapped, read-only: what a digest of what was read is taken of."""
        return self._bytes(0, self.file_size)

    def _view(self, span: Span) -> NDArray[Any]:
        dtype = np.int8 if span.part == "int8" else np.dtype("<f4")
        return np.frombuffer(self._bytes(span.offset, span.nbytes), dtype).reshape(span.shape)

    def _bytes(self, offset: int, size: int) -> memoryview:
        handle = self._open_handle()
        # The destructor holds the handle, and with it the map, for as long as anything over these bytes lives.
        start = ffi.gc(ffi.cast("uint8_t *", lib.rc_model_bytes(handle)) + offset, partial(_keep_alive, handle))
        # read-only at the root: an array over a writable buffer could be made writable again, over a map that is not
        return memoryview(ffi.buffer(start, size)).toreadonly()

    def session(self, positions: int | None = None) -> Session:
        """A KV cache for this many positions, by default max_seq_len. It takes 8 * n_layers * kv_dim bytes a
        position; v1 and v2 headers may claim any max_seq_len, so name a number for files that you do not trust.
        Raises ReaderMemoryError where that cannot be had."""
        return Session(self, self.config.max_seq_len if positions is None else positions)

    def forward(
        self,
        tokens: Sequence[int] | NDArray[Any],
        *,
        activations: Activations = "fp32",
        arithmetic: Arithmetic = "fast",
        rope: Rope = "computed",
    ) -> NDArray[np.float32]:
        """Logits at every position, float32 (len(tokens), vocab_size).

        activations: "fp32", or "q8" for runq.c's (Q8_0 files only).
        arithmetic: "mirror" has run.c's and runq.c's own order of operations; "fast" sums dot products in
        16 lanes of fused multiply-adds, with the same bits on every instruction set.
        rope: "computed" as run.c does, or "file" for v0's own tables.
        """
        ids = self._token_array(tokens)
        with self.session(len(ids)) as session:
            return session.forward(ids, activations=activations, arithmetic=arithmetic, rope=rope)

    def close(self) -> None:
        """Forget the file. Arrays already handed out stay valid."""
        self._handle = None

    # ---- the border to C ----

    def _open_handle(self) -> Any:
        if self._handle is None:
            raise errors.ClosedError(self.path, "model", None, "an open model", "a closed one")
        return self._handle

    def _token_array(self, tokens: Sequence[int] | NDArray[Any]) -> NDArray[np.int32]:
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
        # a copy, whatever it is: C reads it while other threads may write to the caller's
        return np.array(ids, np.int32, order="C")

    def _choose(self, option: str, choices: dict[str, int], value: str) -> int:
        if value not in choices:
            raise errors.ArgumentError(self.path, option, None, " or ".join(choices), repr(value))
        return choices[value]

    def _check(self, code: int, status: Any) -> None:
        """Turn a C status into an exception: the only place that does."""
        if code == lib.RC_OK:
            return
        field = ffi.string(status.field).decode()
        if code == lib.RC_SYSTEM:
            raise errors.ReaderSystemError(self.path, field, status.system_error)
        offset = None if status.offset < 0 else status.offset
        if code == lib.RC_MEMORY:
            raise errors.ReaderMemoryError(self.path, field, offset, f"{status.expected} bytes of memory", "fewer")
        expected = f"{ffi.string(status.rule).decode()} {status.expected}"
        if code == lib.RC_ARGUMENT:
            raise errors.ArgumentError(self.path, field, offset, expected, str(status.found))
        found = f"{status.found}{errors.remark_on_kind(self.path)}"
        raise errors.InvalidFileError(self.path, field, offset, expected, found)
