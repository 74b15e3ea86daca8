"""Checkpoint: a config and a lazy mapping of canonical name to tensor, which loads a tensor when it is requested."""

from __future__ import annotations

import difflib
import errno
import math
import os
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from exporter.companions import Companions
from exporter.config import ModelConfig, tensor_shapes
from exporter.errors import CheckpointError, UnknownTensorError, WeightError, WriteError
from exporter.file_identity import Identity, refuse_changed

Weights = NDArray[np.float32]
Dtype = Literal["fp32", "fp16", "bf16"]
# (canonical name, index) -> (file and name there, index there)
Locate = Callable[[str, tuple[int, ...]], tuple[str, tuple[int, ...]]]

# What may be a source's tokenizer, or a part of one.
_TOKENIZERS = ("tokenizer*", "vocab.json", "merges.txt")


class Checkpoint:
    """A model's weights in llama2.c's names and RoPE convention (rows 2i and 2i + 1 of q and k rotate together).

    open_checkpoint() and Checkpoint.from_arrays() make one. None of its weights is read before load() asks for it.

    Args:
        config: the hyper-parameters.
        shapes: of each tensor, which must be those that config implies.
        load: called for each request, returns float32 in that shape, which is freed with the caller's array.
        where, kind: the source's name, for messages, and its kind.
        files: every file that is read, now or later.
        opened: the identity of each file before it was read.
        dtypes: the type of each tensor in the source, if it is not float32.
        tokenizer: the file beside the source.
        tokenizer_block: the source's own, if it is a v3 file with one.
        follow_links: the user lets links beside the source lead anywhere.
        companions: finds what an export to a directory carries along.
        notes: lines that say how the source was read, for its user.
        locate: finds an element in the source's own files, whose names and order of rows may differ.
        family: model_type of a Hugging Face source, which an export to a directory keeps if it can.

    Attributes:
        config, where, kind, files, tokenizer, tokenizer_block, follow_links, companions, notes, family: as above.

    Raises:
        CheckpointError: names or shapes differ from what config implies.
    """

    def __init__(
        self,
        config: ModelConfig,
        shapes: Mapping[str, tuple[int, ...]],
        load: Callable[[str], Weights],
        *,
        where: str,
        kind: str,
        files: tuple[Path, ...] = (),
        opened: Mapping[Path, Identity] | None = None,
        dtypes: Mapping[str, Dtype] | None = None,
        tokenizer: Path | None = None,
        tokenizer_block: bytes = b"",
        follow_links: bool = False,
        companions: Callable[[], Companions] = Companions,
        notes: tuple[str, ...] = (),
        locate: Locate | None = None,
        family: str | None = None,
    ) -> None:
        check_names_and_shapes(where, tensor_shapes(config), shapes)
        self.config, self.where, self.kind, self.files, self.tokenizer = config, where, kind, files, tokenizer
        self.tokenizer_block, self.follow_links = tokenizer_block, follow_links
        self.notes, self.companions, self.family = notes, companions, family
        self._load, self._dtypes, self._opened = load, dict(dtypes or {}), dict(opened or {})
        self._locate = locate
        self._shapes = tensor_shapes(config)

    @classmethod
    def from_arrays(cls, config: ModelConfig, arrays: Mapping[str, Weights]) -> Checkpoint:
        """Make a checkpoint over arrays in memory, which are never written to.

        Args:
            config: the hyper-parameters.
            arrays: float32 by name; exporter.Checkpoint.names lists the names that a config implies.

        Returns:
            A checkpoint of kind "memory".

        Raises:
            CheckpointError: a name, a shape or a type differs from what config implies.
        """
        for name, array in arrays.items():
            if array.dtype != np.float32:
                raise CheckpointError(f"{name}: expected float32, found {array.dtype}")
        shapes = {name: array.shape for name, array in arrays.items()}
        return cls(config, shapes, lambda name: arrays[name], where="arrays in memory", kind="memory")

    def __repr__(self) -> str:
        weights = sum(math.prod(shape) for shape in self._shapes.values())
        size = f"{self.config.n_layers} layers of dim {self.config.dim}, {weights:,} parameters"
        return f"<exporter.Checkpoint {self.where!r}: {self.kind}, {size}>"

    @property
    def names(self) -> tuple[str, ...]:
        """Return every tensor's name, in the order in which a forward pass uses them."""
        return tuple(self._shapes)

    def shape(self, name: str) -> tuple[int, ...]:
        """Say which shape a tensor has.

        Args:
            name: of the tensor.

        Returns:
            (out_features, in_features) of a matrix, (features,) of a vector.

        Raises:
            UnknownTensorError: the model has no such tensor.
        """
        if name not in self._shapes:
            nearest = " or ".join(difflib.get_close_matches(name, self._shapes, cutoff=0.5))
            raise UnknownTensorError(
                f"{self.where}: tensor: expected {nearest or 'one of checkpoint.names'}, found {name!r:.100}"
            )
        return self._shapes[name]

    def dtype(self, name: str) -> Dtype:
        """Say which type a tensor has in the source.

        Args:
            name: of the tensor.

        Returns:
            The narrowest of "fp32", "fp16" and "bf16" that holds every number of the source's own type.

        Raises:
            UnknownTensorError: the model has no such tensor.
        """
        self.shape(name)
        return self._dtypes.get(name, "fp32")

    def place(self, name: str, index: tuple[int, ...]) -> tuple[str, tuple[int, ...]]:
        """Find an element of a tensor in the source.

        Args:
            name, index: of the element.

        Returns:
            The file and the tensor's name there, and the element's index there.

        Raises:
            UnknownTensorError: the model has no such tensor.
        """
        self.shape(name)
        return self._locate(name, index) if self._locate else (f"{self.where}: {name}", index)

    def not_finite(self, name: str, weights: Weights) -> WeightError:
        """Make the error for the first NaN or infinity in a loaded tensor.

        Args:
            name: of the tensor.
            weights: its numbers, not all of them finite.

        Returns:
            The error, which names the number's place in the source.

        Raises:
            UnknownTensorError: the model has no such tensor.
        """
        first = int((~np.isfinite(weights)).argmax())
        index = tuple(int(i) for i in np.unravel_index(first, weights.shape))
        where, there = self.place(name, index)
        return WeightError(f"{where}: {list(there)}: expected a finite weight, found {weights[index]}", there)

    def refuse_as_target(self, out: Path) -> None:
        """Refuse to write over this checkpoint.

        Args:
            out: the path to be written.

        Raises:
            WriteError: out is one of this checkpoint's files, or a tokenizer beside them, by any name.
        """
        existing = _stat(out)
        if existing is None:
            return
        if any(_is(existing, file) for file in self.files):
            raise WriteError(
                f"{out}: expected a file other than the source, found the source itself; choose another path"
            )
        parents = {file.parent for file in self.files}
        beside = (path for parent in parents for name in _TOKENIZERS for path in parent.glob(name))
        if any(_is(existing, path) for path in beside):
            raise WriteError(
                f"{out}: expected a file other than the source's, found its tokenizer; choose another path"
            )

    def refuse_as_directory(self, out: Path) -> None:
        """Refuse to write over a directory that this checkpoint is read from.

        Args:
            out: the path to be written.

        Raises:
            WriteError: out is a directory that holds, at any depth, a file of this checkpoint. A link counts both
                where it stands and where it points.
        """
        existing = _stat(out)
        if existing is None:
            return
        files = [*self.files, *([self.tokenizer] if self.tokenizer else [])]
        for path in (path for file in files for path in (file.absolute(), file.resolve())):
            if any(_is(existing, parent) for parent in (path, *path.parents)):
                raise WriteError(
                    f"{out}: expected a directory other than the source's, found {path} in it; choose another path"
                )

    def refuse_changed(self) -> None:
        """Refuse a source that changed after it was opened.

        Raises:
            CheckpointError: a file is no longer the one that was opened.
        """
        for path, opened in self._opened.items():
            refuse_changed(path, opened)

    def load(self, name: str) -> Weights:
        """Read one tensor.

        Args:
            name: of the tensor.

        Returns:
            A read-only float32 array.

        Raises:
            UnknownTensorError: the model has no such tensor; the error names the nearest names.
            CheckpointError: the source's tensor cannot be read.
        """
        shape = self.shape(name)
        array = self._load(name).view()
        if array.shape != shape:
            raise CheckpointError(f"{self.where}: {name}: expected shape {shape}, found {array.shape}")
        array.flags.writeable = False
        return array


def check_names_and_shapes(
    where: str, expected: Mapping[str, tuple[int, ...]], found: Mapping[str, tuple[int, ...]]
) -> None:
    """Raise CheckpointError naming the missing tensors, the extra ones, or the first with a wrong shape."""
    missing = [name for name in expected if name not in found]
    if missing:
        raise CheckpointError(f"{where}: missing {_some(missing)}")
    extra = [name for name in found if name not in expected]
    if extra:
        raise CheckpointError(f"{where}: no such tensor in this model: {_some(extra)}")
    for name, shape in expected.items():
        if tuple(found[name]) != shape:
            raise CheckpointError(f"{where}: {name}: expected shape {shape}, found {tuple(found[name])}")


def _some(names: Iterable[str], most: int = 5) -> str:
    names = list(names)
    rest = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(name[:80] for name in names[:most]) + rest


def _stat(path: Path) -> os.stat_result | None:
    """Return the status of the file at path, None where there is none.

    One call decides: another process may remove it between two.
    """
    try:
        return path.stat()
    except OSError as error:
        if error.errno in (errno.ENOENT, errno.ENOTDIR, errno.ELOOP):
            return None
        raise


def _is(existing: os.stat_result, path: Path) -> bool:
    found = _stat(path)
    return found is not None and os.path.samestat(existing, found)
