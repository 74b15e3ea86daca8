"""Model: a file that the C reader has checked and loaded, as Python sees it."""

from __future__ import annotations

import os
from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from reader_c import digests, errors
from reader_c._reader import ffi, lib
from reader_c.choices import Activations, Arithmetic, Path, Rope, options
from reader_c.config import FORMATS, config_of
from reader_c.session import Closing, Session
from reader_c.status import check
from reader_c.tensors import DTYPES, STORAGES, QuantizedTensor, Span, Storage, find, names_of, spans_of
from reader_c.trace import Walk


def _keep_alive(_handle: Any, _freed: Any) -> None:
    """A destructor that does nothing: what counts is what it holds until it is called."""


class Model(Closing):
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
        check(self.path, lib.rc_open(encoded, self.mapped, out, status), status)
        self._handle: Any = ffi.gc(out[0], lib.rc_close)
        raw = lib.rc_model_config(self._handle)
        self.format: str = FORMATS[raw.format]
        self.file_size: int = raw.file_size
        self.head_size: int = raw.head_size
        self.alignment: int = raw.alignment
        self.config = config_of(raw)
        if self.format == "v3":
            digests.check_head(self.path, self.content[: self.head_size])
        if check_digests:
            self.check_digests()

    @property
    def names(self) -> tuple[str, ...]:
        """Every tensor in the file; a shared classifier has no entry of its own."""
        return names_of(self.open_handle(), self.config.n_layers)

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
        t, _ = find(self.open_handle(), name)
        digests.check_tensor(self.path, name, self._bytes(t.offset, t.extent), self._digest(t), t.digest_at)

    def _digest(self, t: Any) -> str:
        return bytes(self._bytes(t.digest_at, lib.RC_DIGEST_BYTES)).hex() if t.digest_at else ""

    def storage(self, name: str) -> Storage:
        """How a tensor is stored. Raises KeyError for a name that the file does not have."""
        t, shape = find(self.open_handle(), name)
        return Storage(name, shape, STORAGES[t.storage], t.group_size, self._digest(t))

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
        return spans_of(name, *find(self.open_handle(), name))

    @property
    def content(self) -> memoryview:
        """Every byte of the file as it was read, read-only: what a digest of what was read is taken of."""
        return self._bytes(0, self.file_size)

    def view(self, span: Span) -> NDArray[Any]:
        """The part as the file holds it, read-only and zero-copy: bfloat16 as its bits, uint16."""
        return np.frombuffer(self._bytes(span.offset, span.nbytes), DTYPES[span.part]).reshape(span.shape)

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
        ids = self.token_array(tokens)
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
        chosen = options(self.path, activations, arithmetic, rope, path)
        return Walk(self, self.token_array(tokens), chosen, int8=activations == "q8")

    def close(self) -> None:
        """Forget the file. Arrays already handed out stay valid."""
        self._handle = None

    # ---- the border to C ----

    def open_handle(self) -> Any:
        """C's handle of the model, for this package alone."""
        if self._handle is None:
            raise errors.ClosedError(self.path, "model", None, "an open model", "a closed one")
        return self._handle

    def token_array(self, tokens: Sequence[int] | NDArray[Any]) -> NDArray[np.int32]:
        """Tokens as C takes them. Raises ArgumentError."""
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


def _fits(path: str) -> bool:
    """Whether a copy leaves room for work. What cannot be told here is rc_open's to refuse."""
    try:
        size = os.stat(path).st_size  # noqa: PTH116  # a path of any bytes
    except OSError:
        return True
    return size <= os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2
