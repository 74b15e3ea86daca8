"""Model: an open file's tensors, digests and forward passes."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from reader_c import digests, errors
from reader_c._reader import lib
from reader_c.handle import Handle
from reader_c.options import Activations, Arithmetic, Path, Rope, c_options
from reader_c.session import Session
from reader_c.tensors import DTYPES, STORAGES, QuantizedTensor, Span, Storage, find, names_of, spans_of
from reader_c.trace import Walk


class Model(Handle):
    """A checked file, copied into memory or mapped. Use it as a context manager; threads may share it.

    mapped: False copies the file, so that later changes to it change nothing here. True maps it, and requires that
    it stays as it is: truncation by another process ends this one with SIGBUS. The default copies a file of up to
    half of the machine's memory. check_digests: compare the tensors of a v3 file with their digests, too; its head
    always is. Arrays that were handed out stay valid after close(). Raises InvalidFileError where the file is at
    fault, ReaderSystemError where it cannot be opened.
    """

    def __init__(
        self, path: str | os.PathLike[str], *, check_digests: bool = False, mapped: bool | None = None
    ) -> None:
        super().__init__(path, mapped=mapped)
        if self.format == "v3":
            digests.check_head(self.path, self.content[: self.head_size])
        if check_digests:
            self.check_digests()

    @property
    def names(self) -> tuple[str, ...]:
        """Return the name of every tensor in the file; a shared classifier has no entry of its own."""
        return names_of(self.pointer(), self.config.n_layers)

    @property
    def metadata(self) -> dict[str, str]:
        """Return a v3 file's metadata, key to value; empty for other formats."""
        raw = lib.rc_model_config(self.pointer())
        return digests.read_metadata(self.read(raw.metadata_at, raw.metadata_size), raw.metadata_count)

    def check_digests(self) -> None:
        """Compare every tensor of a v3 file with its digest.

        Raises InvalidFileError naming the first that differs, ArgumentError for a format without digests.
        """
        if self.format != "v3":
            raise errors.ArgumentError(self.path, "digests", None, "a v3 file", self.format)
        for name in self.names:
            self.check_digest(name)

    def check_digest(self, name: str) -> None:
        """Compare one tensor of a v3 file, padding included, with its digest. Raises InvalidFileError or KeyError."""
        t, _ = find(self.pointer(), name)
        digests.check_tensor(self.path, name, self.read(t.offset, t.extent), self._digest(t), t.digest_at)

    def _digest(self, t: Any) -> str:
        return bytes(self.read(t.digest_at, lib.RC_DIGEST_BYTES)).hex() if t.digest_at else ""

    def storage(self, name: str) -> Storage:
        """Return how a tensor is stored. Raises KeyError for a name that the file does not have."""
        t, shape = find(self.pointer(), name)
        return Storage(name, shape, STORAGES[t.storage], t.group_size, self._digest(t))

    def tensor(self, name: str) -> NDArray[np.float32] | QuantizedTensor:
        """Return a tensor as float32, or the int8 and scales of a Q8_0 tensor: read-only.

        It is a view of the file's bytes, except that half precision is widened (spans() says where its bits stand).
        Raises KeyError for a name that the file does not have.
        """
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
        """Return the places of a tensor's parts in the file. Raises KeyError."""
        return spans_of(name, *find(self.pointer(), name))

    @property
    def content(self) -> memoryview:
        """Return every byte of the file as it was read, read-only: a digest of it is one of what was checked."""
        return self.read(0, self.file_size)

    def view(self, span: Span) -> NDArray[Any]:
        """Return a part as the file holds it, read-only and without a copy: bfloat16 as its bits, uint16."""
        return np.frombuffer(self.read(span.offset, span.nbytes), DTYPES[span.part]).reshape(span.shape)

    def session(self, positions: int | None = None, threads: int | None = None) -> Session:
        """Open a KV cache for this many positions, max_seq_len by default, at 8 * n_layers * kv_dim bytes a position.

        v1 and v2 headers may claim any max_seq_len: pass positions for a file that you do not trust. Raises
        ReaderMemoryError where the memory cannot be allocated, ArgumentError for bad numbers.
        """
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
        """Return the logits at every position, float32 (len(tokens), vocab_size).

        activations: "fp32", or "q8" for those of runq.c (Q8_0 files only). arithmetic: "mirror" has the order of
        operations of run.c and runq.c; "fast" sums dot products in 16 lanes of fused multiply-adds, with the same
        bits on every instruction set. rope: "computed" as in run.c, or "file" for v0's own tables. path: the
        instruction set of "fast". threads: one a core by default. Raises ArgumentError or ReaderMemoryError.
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
        """Return the same pass as an iterable of Stages, which hold what each operation read and wrote.

        Memory is one layer's: the next stage overwrites the arrays. The logits are those of forward(), bit for bit.
        Raises ArgumentError.
        """
        chosen = c_options(self.path, activations, arithmetic, rope, path)
        return Walk(self, self.token_array(tokens), chosen, int8=activations == "q8")
