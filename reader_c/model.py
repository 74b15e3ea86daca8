"""Model: a file that the C reader has checked and loaded, as Python sees it."""

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

from reader_c import digests, errors
from reader_c._reader import ffi, lib
from reader_c.trace import Walk

Activations = Literal["fp32", "q8"]
Arithmetic = Literal["mirror", "fast"]
Rope = Literal["computed", "file"]
Path = Literal["best", "scalar", "avx2", "avx512", "neon"]

FORMATS = {lib.RC_V0: "v0", lib.RC_V1: "v1", lib.RC_V1_FP32: "v1-fp32", lib.RC_V2: "v2", lib.RC_V3: "v3"}
_GATES = {lib.RC_SILU: "silu", lib.RC_GELU: "gelu", lib.RC_GELU_TANH: "gelu_tanh"}
_SCALINGS = {
    lib.RC_UNSCALED: "none",
    lib.RC_LINEAR: "linear",
    lib.RC_DYNAMIC: "dynamic",
    lib.RC_LLAMA3: "llama3",
    lib.RC_YARN: "yarn",
}
_STORAGES = {lib.RC_FP32: "fp32", lib.RC_FP16: "fp16", lib.RC_BF16: "bf16", lib.RC_Q8: "q8_0"}
# int8 and bfloat16's bits; numpy has no type for the latter
_DTYPES: dict[str, np.dtype[Any]] = {
    "fp32": np.dtype("<f4"),
    "fp16": np.dtype("<f2"),
    "bf16": np.dtype("<u2"),
    "int8": np.dtype("i1"),
}
_DTYPES["scale"] = _DTYPES["fp32"]
_ACTIVATIONS = {"fp32": lib.RC_ACTIVATIONS_FP32, "q8": lib.RC_ACTIVATIONS_Q8}
_ARITHMETICS = {"mirror": lib.RC_MIRROR, "fast": lib.RC_FAST}
_ROPES = {"computed": lib.RC_ROPE_COMPUTED, "file": lib.RC_ROPE_FROM_FILE}
_PATHS = {
    "best": lib.RC_PATH_BEST,
    "scalar": lib.RC_PATH_SCALAR,
    "avx2": lib.RC_PATH_AVX2,
    "avx512": lib.RC_PATH_AVX512,
    "neon": lib.RC_PATH_NEON,
}

# The most that one call may use.
MOST_THREADS = 256


def paths() -> tuple[str, ...]:
    """Ways in which this machine can compute `fast`, by name: other speeds, the same bits."""
    return tuple(name for name, path in _PATHS.items() if path != lib.RC_PATH_BEST and lib.rc_path_is_here(path))


def best_path() -> str:
    """The fastest of them."""
    return next(name for name, path in _PATHS.items() if path == lib.rc_path_best())


_IN_LAYERS = {
    "attention_norm.weight": lib.RC_ATTENTION_NORM,
    "attention.wq.weight": lib.RC_WQ,
    "attention.wq.bias": lib.RC_WQ_BIAS,
    "attention.wk.weight": lib.RC_WK,
    "attention.wk.bias": lib.RC_WK_BIAS,
    "attention.wv.weight": lib.RC_WV,
    "attention.wv.bias": lib.RC_WV_BIAS,
    "attention.wo.weight": lib.RC_WO,
    "attention.wo.bias": lib.RC_WO_BIAS,
    "ffn_norm.weight": lib.RC_FFN_NORM,
    "feed_forward.w1.weight": lib.RC_W1,
    "feed_forward.w1.bias": lib.RC_W1_BIAS,
    "feed_forward.w2.weight": lib.RC_W2,
    "feed_forward.w2.bias": lib.RC_W2_BIAS,
    "feed_forward.w3.weight": lib.RC_W3,
    "feed_forward.w3.bias": lib.RC_W3_BIAS,
}
_LAYER_NAME = re.compile(r"layers\.(0|[1-9][0-9]{0,9})\.(.+)")
_BEFORE_LAYERS = {"tok_embeddings.weight": lib.RC_TOK_EMBEDDINGS}
_AFTER_LAYERS = {
    "norm.weight": lib.RC_NORM,
    "output.weight": lib.RC_OUTPUT,
    "freqs_cos": lib.RC_FREQS_COS,
    "freqs_sin": lib.RC_FREQS_SIN,
}

_VECTORS = {lib.RC_NORM} | {kind for name, kind in _IN_LAYERS.items() if name.endswith((".bias", "_norm.weight"))}


@dataclass(frozen=True)
class RopeScaling:
    """How RoPE's frequencies differ from theta^(-2i / head_dim). type: "none", "linear", "dynamic", "llama3" or
    "yarn"; what the type does not have is zero."""

    type: str
    factor: float
    original_max_positions: int
    low_freq_factor: float
    high_freq_factor: float
    beta_fast: float
    beta_slow: float
    attention_factor: float
    truncate: bool


@dataclass(frozen=True)
class Config:
    """The header, field by field, and what the format implies where it has no field.

    vocab_size is positive whatever sign the file has. group_size is the smallest of any Q8_0 tensor, 0 where there
    is none. activation: "silu", "gelu" (erf) or "gelu_tanh".
    """

    dim: int
    hidden_dim: int
    n_layers: int
    n_heads: int
    n_kv_heads: int
    vocab_size: int
    max_seq_len: int
    head_dim: int
    shared_classifier: bool
    qkv_bias: bool
    wo_bias: bool
    mlp_bias: bool
    activation: str
    group_size: int
    norm_eps: float
    rope_theta: float
    rope_scaling: RopeScaling


@dataclass(frozen=True)
class Span:
    """Where one part of a tensor stands in the file. part: "fp32", "fp16", "bf16", "int8" or "scale"."""

    name: str
    part: str
    shape: tuple[int, ...]
    offset: int
    nbytes: int


@dataclass(frozen=True)
class Storage:
    """How a tensor is stored: "fp32", "fp16", "bf16" or "q8_0", the latter in groups of group_size (else 0).
    digest: v3's own BLAKE3 of the tensor as the table has it, in hexadecimal; empty in other formats."""

    name: str
    shape: tuple[int, ...]
    storage: str
    group_size: int
    digest: str


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
        model.check(lib.rc_session_open(self._handle, positions, threads, out, status), status)
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
        ids = model._token_array(tokens)
        options = model._options(activations, arithmetic, rope, path)
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
                options,
                ffi.from_buffer("float[]", logits, require_writable=True),
                status,
            )
            model.check(code, status)
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


class Model(_Closing):
    """A checked file, loaded or mapped. Use as a context manager; safe to share between threads.

    mapped: False for a copy in memory, which nothing that becomes of the file changes; True for a map, of a file that
    stays what it is (truncated by another process, it ends this one with SIGBUS). By default a copy is made of what
    half of the machine's memory can hold. Arrays that it handed out stay valid after close().
    Raises InvalidFileError where the file is at fault, ReaderSystemError where it cannot be opened.
    check_digests: hold the tensors of a v3 file against their digests too; its head always is.
    """

    def __init__(
        self, path: str | os.PathLike[str], *, check_digests: bool = False, mapped: bool | None = None
    ) -> None:
        self.path = os.fsdecode(path)
        encoded = os.fsencode(path)
        if b"\0" in encoded:
            raise errors.ArgumentError(repr(self.path), "path", None, "no null byte", "one")
        out, status = ffi.new("rc_model **"), ffi.new("rc_status *")
        if mapped is None:
            mapped = not _fits(self.path)
        self.mapped = bool(mapped)
        self.check(lib.rc_open(encoded, self.mapped, out, status), status)
        self._handle: Any = ffi.gc(out[0], lib.rc_close)
        raw = lib.rc_model_config(self._handle)
        self.format: str = FORMATS[raw.format]
        self.file_size: int = raw.file_size
        self.head_size: int = raw.head_size
        self.alignment: int = raw.alignment
        self.config = _config(raw)
        if self.format == "v3":
            digests.check_head(self.path, self.content[: self.head_size])
        if check_digests:
            self.check_digests()

    @property
    def names(self) -> tuple[str, ...]:
        """Every tensor in the file; a shared classifier has no entry of its own."""
        handle = self.open_handle()
        tensor = ffi.new("rc_tensor *")

        def present(names: dict[str, int]) -> list[str]:
            return [name for name, kind in names.items() if lib.rc_model_tensor(handle, kind, 0, tensor)]

        of_layer = present(_IN_LAYERS)
        layers = range(self.config.n_layers)
        return (
            *_BEFORE_LAYERS,
            *(f"layers.{layer}.{name}" for layer in layers for name in of_layer),
            *present(_AFTER_LAYERS),
        )

    @property
    def metadata(self) -> dict[str, str]:
        """What a v3 file says of its making, by key; empty in other formats."""
        raw = lib.rc_model_config(self.open_handle())
        return digests.read_metadata(self._bytes(raw.metadata_at, raw.metadata_size), raw.metadata_count)

    def check_digests(self) -> None:
        """Hold every tensor of a v3 file against its digest. Raises InvalidFileError naming the first that differs,
        ArgumentError for a format that has none."""
        if self.format != "v3":
            raise errors.ArgumentError(self.path, "digests", None, "a v3 file", self.format)
        for name in self.names:
            self.check_digest(name)

    def check_digest(self, name: str) -> None:
        """The same for one tensor, its padding included."""
        t, _ = self._raw_tensor(name)
        digests.check_tensor(self.path, name, self._bytes(t.offset, t.extent), self._digest(t), t.digest_at)

    def _digest(self, t: Any) -> str:
        return bytes(self._bytes(t.digest_at, lib.RC_DIGEST_BYTES)).hex() if t.digest_at else ""

    def _raw_tensor(self, name: str) -> tuple[Any, int]:
        """(C's description, kind) of a tensor. The name is parsed, not looked up: a file may have very many."""
        match = _LAYER_NAME.fullmatch(name)
        if match:
            kind, layer = _IN_LAYERS.get(match[2]), int(match[1])
        else:
            kind, layer = (_BEFORE_LAYERS | _AFTER_LAYERS).get(name), 0
        tensor = ffi.new("rc_tensor *")
        if kind is None or not lib.rc_model_tensor(self.open_handle(), kind, layer, tensor):
            raise KeyError(name)
        return tensor, kind

    def storage(self, name: str) -> Storage:
        """How a tensor is stored. Raises KeyError for a name that the file does not have."""
        t, kind = self._raw_tensor(name)
        return Storage(name, _shape(t, kind), _STORAGES[t.storage], t.group_size, self._digest(t))

    def tensor(self, name: str) -> NDArray[np.float32] | QuantizedTensor:
        """float32, or the int8 and scales of a Q8_0 tensor: read-only. Zero-copy but for half precision, which is
        widened (spans tell where its bits stand). Raises KeyError for a name that the file does not have."""
        arrays = {span.part: self.view(span) for span in self.spans(name)}
        if "fp32" in arrays:
            return arrays["fp32"]
        if "int8" in arrays:
            return QuantizedTensor(arrays["int8"], arrays["scale"], self.storage(name).group_size)
        part, halves = arrays.popitem()
        # a bfloat16 is the upper half of a float32
        wide = halves.astype(np.float32) if part == "fp16" else (halves.astype("<u4") << 16).view("<f4")
        wide.flags.writeable = False
        return wide

    def spans(self, name: str) -> tuple[Span, ...]:
        """Where a tensor's parts stand in the file."""
        t, kind = self._raw_tensor(name)
        shape, storage = _shape(t, kind), _STORAGES[t.storage]
        if storage != "q8_0":
            return (Span(name, storage, shape, t.offset, t.length),)
        return (
            Span(name, "int8", shape, t.offset, t.length),
            Span(name, "scale", (t.rows, t.cols // t.group_size), t.scale_offset, t.scale_length),
        )

    @property
    def content(self) -> memoryview:
        """Every byte of the file as it was read, read-only: what a digest of what was read is taken of."""
        return self._bytes(0, self.file_size)

    def view(self, span: Span) -> NDArray[Any]:
        """The part as the file holds it, read-only and zero-copy: bfloat16 as its bits, uint16."""
        return np.frombuffer(self._bytes(span.offset, span.nbytes), _DTYPES[span.part]).reshape(span.shape)

    def _bytes(self, offset: int, size: int) -> memoryview:
        handle = self.open_handle()
        # The destructor holds the handle, and with it the copy, for as long as anything over these bytes lives.
        start = ffi.gc(ffi.cast("uint8_t *", lib.rc_model_bytes(handle)) + offset, partial(_keep_alive, handle))
        # read-only at the root: an array over a writable buffer could be made writable again
        return memoryview(ffi.buffer(start, size)).toreadonly()

    def session(self, positions: int | None = None, threads: int | None = None) -> Session:
        """A KV cache for this many positions, by default max_seq_len. It takes 8 * n_layers * kv_dim bytes a
        position; v1 and v2 headers may claim any max_seq_len, so name a number for files that you do not trust.
        Raises ReaderMemoryError where that cannot be had."""
        return Session(self, self.config.max_seq_len if positions is None else positions, threads)

    def forward(
        self,
        tokens: Sequence[int] | NDArray[Any],
        *,
        activations: Activations = "fp32",
        arithmetic: Arithmetic = "fast",
        rope: Rope = "computed",
        path: Path = "best",
        threads: int | None = None,
    ) -> NDArray[np.float32]:
        """Logits at every position, float32 (len(tokens), vocab_size).

        activations: "fp32", or "q8" for runq.c's (Q8_0 files only).
        arithmetic: "mirror" has run.c's and runq.c's own order of operations; "fast" sums dot products in
        16 lanes of fused multiply-adds, with the same bits on every instruction set.
        rope: "computed" as run.c does, or "file" for v0's own tables.
        """
        ids = self._token_array(tokens)
        with self.session(len(ids), threads) as session:
            return session.forward(ids, activations=activations, arithmetic=arithmetic, rope=rope, path=path)

    def trace(
        self,
        tokens: Sequence[int] | NDArray[Any],
        *,
        activations: Activations = "fp32",
        arithmetic: Arithmetic = "fast",
        rope: Rope = "computed",
        path: Path = "best",
    ) -> Walk:
        """The same pass, one layer at a time: iterate over its Stages, which hold what each operation read and wrote.
        Memory is one layer's: the next stage writes into the same arrays. The logits are forward()'s, bit for bit."""
        options = self._options(activations, arithmetic, rope, path)
        return Walk(self, self._token_array(tokens), options, int8=activations == "q8")

    def close(self) -> None:
        """Forget the file. Arrays already handed out stay valid."""
        self._handle = None

    # ---- the border to C ----

    def open_handle(self) -> Any:
        """C's handle of the model, for this package alone."""
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

    def _options(self, activations: str, arithmetic: str, rope: str, path: str) -> Any:
        chosen = (
            self._choose("activations", _ACTIVATIONS, activations),
            self._choose("arithmetic", _ARITHMETICS, arithmetic),
            self._choose("rope", _ROPES, rope),
            self._choose("path", _PATHS, path),
        )
        return ffi.new("rc_options *", chosen)

    def _choose(self, option: str, choices: dict[str, int], value: str) -> int:
        if value not in choices:
            raise errors.ArgumentError(self.path, option, None, " or ".join(choices), repr(value))
        return choices[value]

    def check(self, code: int, status: Any) -> None:
        """Turn a C status into an exception: the only place that does. For this package alone."""
        if code == lib.RC_OK:
            return
        field = ffi.string(status.field).decode()
        rule = ffi.string(status.rule).decode()
        if code == lib.RC_SYSTEM:
            raise errors.ReaderSystemError(self.path, field, status.system_error)
        offset = None if status.offset < 0 else status.offset
        if code == lib.RC_MEMORY:
            raise errors.ReaderMemoryError(self.path, field, offset, f"{status.expected} bytes of memory", "fewer")
        expected, found = f"{rule} {status.expected}", str(status.found)
        if status.is_real:
            expected, found = rule, repr(status.found_real)
        elif status.expected_name[0] != b"\0":
            names = (ffi.string(name).decode() for name in (status.expected_name, status.found_name))
            expected, found = (repr(name) for name in names)
        if code == lib.RC_ARGUMENT:
            raise errors.ArgumentError(self.path, field, offset, expected, found)
        raise errors.InvalidFileError(self.path, field, offset, expected, found + errors.remark_on_kind(self.path))


def _fits(path: str) -> bool:
    """Whether a copy leaves room for work. What cannot be told here is rc_open's to refuse."""
    try:
        size = os.stat(path).st_size  # noqa: PTH116  # a path of any bytes
    except OSError:
        return True
    return size <= os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2


def _config(raw: Any) -> Config:
    scaling = raw.scaling
    return Config(
        dim=raw.dim,
        hidden_dim=raw.hidden_dim,
        n_layers=raw.n_layers,
        n_heads=raw.n_heads,
        n_kv_heads=raw.n_kv_heads,
        vocab_size=raw.vocab_size,
        max_seq_len=raw.max_seq_len,
        head_dim=raw.head_dim,
        shared_classifier=bool(raw.shared_classifier),
        qkv_bias=bool(raw.qkv_bias),
        wo_bias=bool(raw.wo_bias),
        mlp_bias=bool(raw.mlp_bias),
        activation=_GATES[raw.gate],
        group_size=raw.group_size,
        norm_eps=raw.norm_eps,
        rope_theta=raw.rope_theta,
        rope_scaling=RopeScaling(
            type=_SCALINGS[scaling.type],
            factor=scaling.factor,
            original_max_positions=scaling.original_max_positions,
            low_freq_factor=scaling.low_freq_factor,
            high_freq_factor=scaling.high_freq_factor,
            beta_fast=scaling.beta_fast,
            beta_slow=scaling.beta_slow,
            attention_factor=scaling.attention_factor,
            truncate=bool(scaling.truncate),
        ),
    )


def _shape(t: Any, kind: int) -> tuple[int, ...]:
    return (t.cols,) if kind in _VECTORS else (t.rows, t.cols)
