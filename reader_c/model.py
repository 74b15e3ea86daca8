"""Model: an open file's tensors, digests and forward passes."""

from __future__ import annotations

import functools
import os
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from reader_c import digests, errors
from reader_c._reader import lib
from reader_c.handle import Handle
from reader_c.options import Activations, Arithmetic, Path, Rope, c_options
from reader_c.session import Session
from reader_c.tensors import DTYPES, STORAGES, QuantizedTensor, Span, Storage, find, has, names_of, near, spans_of
from reader_c.tokenizer import Tokenizer
from reader_c.trace import Walk


class Model(Handle):
    """A checked file, copied into memory or mapped. Use it as a context manager; threads may share it.

    model["norm.weight"] is model.tensor("norm.weight"); iteration gives the names. Arrays that were handed out stay
    valid after close().

    Args:
        path: the file.
        check_digests: compare the tensors of a v3 file with their digests, too; its head always is.
        mapped: False copies the file, so that later changes to it change nothing here. True maps it, and requires
            that it stays as it is: truncation by another process ends this one with SIGBUS. The default copies a
            file of up to half of the machine's memory.

    Attributes:
        path, format, file_size: of the file; format is "v0", "v1", "v1-fp32", "v2", "v3" or
            "ajc1", which is qwen3.c's.
        config: what the header says.
        head_size, alignment: bytes before the first tensor; what offsets are multiples of.
        mapped: whether the file is mapped.

    Raises:
        InvalidFileError: the file is at fault.
        ReaderSystemError: the file cannot be opened.
    """

    def __init__(
        self, path: str | os.PathLike[str], *, check_digests: bool = False, mapped: bool | None = None
    ) -> None:
        super().__init__(path, mapped=mapped)
        if self.format == "v3":
            tables_end = lib.rc_model_config(self._pointer).metadata_at
            digests.check_head(self.path, self.content[: self.head_size], tables_end)
        if check_digests:
            self.check_digests()

    def __repr__(self) -> str:
        c, closed = self.config, ", closed" if self.closed else ""
        size = f"{c.n_layers} layers of dim {c.dim}, {self.file_size:,} bytes"
        return f"<reader_c.Model {self.path!r}: {self.format}, {size}{closed}>"

    def __getitem__(self, name: str) -> NDArray[np.float32] | QuantizedTensor:
        return self.tensor(name)

    def __contains__(self, name: object) -> bool:
        return isinstance(name, str) and has(self._open_pointer(), name)

    def __iter__(self) -> Iterator[str]:
        return iter(self.names)

    def __len__(self) -> int:
        return len(self.names)

    @property
    def names(self) -> tuple[str, ...]:
        """Return the name of every tensor in the file; a shared classifier has no entry of its own."""
        return names_of(self._open_pointer(), self.config.n_layers)

    @property
    def metadata(self) -> dict[str, str]:
        """Return a v3 file's metadata, key to value; empty for other formats."""
        raw = lib.rc_model_config(self._open_pointer())
        return digests.read_metadata(self._read(raw.metadata_at, raw.metadata_size), raw.metadata_count)

    @property
    def tokenizer_block(self) -> bytes:
        """Return a v3 file's tokenizer block as it stands there; empty without one, and for other formats."""
        raw = lib.rc_model_config(self._open_pointer())
        return bytes(self._read(raw.tokenizer_at, raw.tokenizer_size))

    @functools.cached_property
    def tokenizer(self) -> Tokenizer | None:
        """Return the tokenizer of a v3 file's block; None without one, and for other formats.

        Raises:
            InvalidFileError: the block breaks a rule of its format.
        """
        raw = lib.rc_model_config(self._open_pointer())
        if not raw.tokenizer_size:
            return None
        block = self._read(raw.tokenizer_at, raw.tokenizer_size)
        return Tokenizer.from_block(block, self.config.vocab_size, path=self.path, at=int(raw.tokenizer_at))

    def check_digests(self) -> None:
        """Compare every tensor of a v3 file with its digest.

        Raises:
            InvalidFileError: a tensor differs; the error names the first one.
            ArgumentError: the format has no digests.
        """
        if self.format != "v3":
            raise errors.ArgumentError(self.path, "digests", None, "a v3 file", self.format)
        for name in self.names:
            self.check_digest(name)

    def check_digest(self, name: str) -> None:
        """Compare one tensor of a v3 file, padding included, with its digest.

        Args:
            name: of the tensor.

        Raises:
            InvalidFileError: the tensor differs.
            UnknownTensorError: the file has no such tensor.
        """
        t, _ = self._find(name)
        digests.check_tensor(self.path, name, self._read(t.offset, t.extent), self._digest(t), t.digest_at)

    def _digest(self, t: Any) -> str:
        return bytes(self._read(t.digest_at, lib.RC_DIGEST_BYTES)).hex() if t.digest_at else ""

    def _find(self, name: str) -> tuple[Any, tuple[int, ...]]:
        """Return C's rc_tensor and the tensor's shape. Raises UnknownTensorError, which names the nearest names."""
        pointer = self._open_pointer()
        try:
            return find(pointer, name)
        except KeyError:
            nearest = " or ".join(near(pointer, name, self.config.n_layers)) or "one of model.names"
            raise errors.UnknownTensorError(self.path, "tensor", None, nearest, f"{name!r:.100}") from None

    def storage(self, name: str) -> Storage:
        """Say how a tensor is stored.

        Args:
            name: of the tensor.

        Returns:
            Its storage, group size and digest.

        Raises:
            UnknownTensorError: the file has no such tensor.
        """
        t, shape = self._find(name)
        return Storage(name, shape, STORAGES[t.storage], t.group_size, self._digest(t))

    def tensor(self, name: str) -> NDArray[np.float32] | QuantizedTensor:
        """Give a tensor's numbers, read-only: a view of the file's bytes, except that half precision is widened.

        spans() says where the bits of half precision stand.

        Args:
            name: of the tensor.

        Returns:
            float32 in the tensor's shape, or the int8 and scales of a Q8_0 tensor.

        Raises:
            UnknownTensorError: the file has no such tensor.
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
        """Find the parts of a tensor in the file.

        Args:
            name: of the tensor.

        Returns:
            A place for its numbers; for a Q8_0 tensor, those of its int8 and of its scales.

        Raises:
            UnknownTensorError: the file has no such tensor.
        """
        return spans_of(name, *self._find(name))

    @property
    def content(self) -> memoryview:
        """Return every byte of the file as it was read, read-only: a digest of it is one of what was checked."""
        return self._read(0, self.file_size)

    def view(self, span: Span) -> NDArray[Any]:
        """Give a part as the file holds it, read-only and without a copy.

        Args:
            span: a place that spans() found.

        Returns:
            The numbers in the part's shape; bfloat16 as its bits, uint16.

        Raises:
            ClosedError: the model is closed.
        """
        return np.frombuffer(self._read(span.offset, span.nbytes), DTYPES[span.part]).reshape(span.shape)

    def session(self, positions: int | None = None, threads: int | None = None) -> Session:
        """Open a KV cache, at 8 * kv_dim bytes a position and layer.

        A windowed layer keeps as many positions as its window and a batch of 256 tokens need, and no more.

        Args:
            positions: of the cache; max_seq_len by default. v1 and v2 headers may claim any max_seq_len: pass
                positions for a file that you do not trust.
            threads: one a core by default.

        Returns:
            A session at position 0. Use it as a context manager.

        Raises:
            ReaderMemoryError: the memory cannot be allocated.
            ArgumentError: a number is out of range.
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
        """Compute the logits at every position.

        Args:
            tokens: token ids, at most max_seq_len of them.
            activations: "fp32", or "q8" for those of runq.c (Q8_0 files only).
            arithmetic: "mirror" has the order of operations of run.c and runq.c; "fast" sums dot products in 16 lanes
                of fused multiply-adds, with the same bits on every instruction set.
            rope: "computed" as in run.c, or "file" for v0's own tables.
            path: the instruction set of "fast".
            threads: one a core by default.

        Returns:
            float32 (len(tokens), vocab_size).

        Raises:
            ArgumentError: a token or an option is not one that the model can take.
            ReaderMemoryError: the memory cannot be allocated.
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
        """Record the same pass, layer by layer: the logits are those of forward(), bit for bit.

        Memory is one layer's: the next stage overwrites the arrays.

        Args:
            tokens, activations, arithmetic, rope, path: as in forward().

        Returns:
            An iterable of Stages, which hold what each operation read and wrote.

        Raises:
            ArgumentError: a token or an option is not one that the model can take.
        """
        chosen = c_options(self.path, activations, arithmetic, rope, path)
        return Walk(self, self._token_array(tokens), chosen, int8=activations == "q8")
