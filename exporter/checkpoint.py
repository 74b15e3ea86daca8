"""Checkpoint: a config and a lazy mapping of canonical name to tensor. Nothing is loaded before it is asked for."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from exporter.config import ModelConfig, tensor_shapes
from exporter.errors import CheckpointError, WeightError, WriteError
from exporter.identity import Identity, refuse_changed

Weights = NDArray[np.float32]
Dtype = Literal["fp32", "fp16", "bf16"]
# (canonical name, index) -> (file and name there, index there)
Locate = Callable[[str, tuple[int, ...]], tuple[str, tuple[int, ...]]]


class Checkpoint:
    """A model's weights in llama2.c's names and RoPE convention.

    load is called once for each tensor that is asked for and returns float32; where it is a copy or a map,
    it is freed with the array. dtypes: what each tensor is stored as in the source, float32 where it is silent.
    files: all that was read or will be; opened: what they were before; tokenizer: the one that stands beside them.
    notes: what the user should know of how the source was read, a line each. locate: where an element stands in the
    source's own files, whose names and order of rows may be others.
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
        notes: tuple[str, ...] = (),
        locate: Locate | None = None,
    ) -> None:
        check_names_and_shapes(where, tensor_shapes(config), shapes)
        self.config, self.where, self.kind, self.files, self.tokenizer = config, where, kind, files, tokenizer
        self.notes = notes
        self._load, self._dtypes, self._opened = load, dict(dtypes or {}), dict(opened or {})
        self._locate = locate
        self._shapes = tensor_shapes(config)

    @classmethod
    def from_arrays(cls, config: ModelConfig, arrays: Mapping[str, Weights]) -> Checkpoint:
        """A checkpoint over arrays in memory, which are never written to. Raises CheckpointError unless float32."""
        for name, array in arrays.items():
            if array.dtype != np.float32:
                raise CheckpointError(f"{name}: expected float32, found {array.dtype}")
        shapes = {name: array.shape for name, array in arrays.items()}
        return cls(config, shapes, lambda name: arrays[name], where="arrays in memory", kind="memory")

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(self._shapes)

    def shape(self, name: str) -> tuple[int, ...]:
        return self._shapes[name]

    def dtype(self, name: str) -> Dtype:
        """The narrowest of float32, float16 and bfloat16 that the source's own type fits in."""
        return self._dtypes.get(name, "fp32")

    def place(self, name: str, index: tuple[int, ...]) -> tuple[str, tuple[int, ...]]:
        """Where an element of a tensor stands in the source: the file and the tensor's name there, and its index."""
        return self._locate(name, index) if self._locate else (f"{self.where}: {name}", index)

    def not_finite(self, name: str, weights: Weights) -> WeightError:
        """The error for the first NaN or infinity in a loaded tensor, at its place in the source."""
        first = int((~np.isfinite(weights)).argmax())
        index = tuple(int(i) for i in np.unravel_index(first, weights.shape))
        where, there = self.place(name, index)
        return WeightError(f"{where}: {list(there)}: expected a finite weight, found {weights[index]}", there)

    def refuse_as_target(self, out: Path) -> None:
        """Raise WriteError where out is a file that this checkpoint is read from, or a tokenizer's beside it, by
        whatever name."""
        itself = _there(out)
        if itself is None:
            return
        if any(_is(itself, file) for file in self.files):
            raise WriteError(f"{out}: expected another file than the source, found the source itself")
        beside = (path for place in {file.parent for file in self.files} for path in place.glob("tokenizer*"))
        if any(_is(itself, path) for path in beside):
            raise WriteError(f"{out}: expected another file than the source's, found its tokenizer")

    def refuse_as_directory(self, out: Path) -> None:
        """Raise WriteError where out is a directory that holds, at any depth, what this checkpoint is read from.
        A link counts where it stands and where it points."""
        itself = _there(out)
        if itself is None:
            return
        files = [*self.files, *([self.tokenizer] if self.tokenizer else [])]
        for path in (path for file in files for path in (file.absolute(), file.resolve())):
            if any(_is(itself, place) for place in (path, *path.parents)):
                raise WriteError(f"{out}: expected another directory than the source's, found {path} in it")

    def refuse_changed(self) -> None:
        """Raise CheckpointError where a file is no longer the one that was opened."""
        for path, opened in self._opened.items():
            refuse_changed(path, opened)

    def load(self, name: str) -> Weights:
        """One tensor as a read-only float32 array. Raises KeyError for a name that the model does not have."""
        shape = self._shapes[name]
        array = self._load(name).view()
        if array.shape != shape:
            raise CheckpointError(f"{self.where}: {name}: expected shape {shape}, found {array.shape}")
        array.flags.writeable = False
        return array


def check_names_and_shapes(
    where: str, expected: Mapping[str, tuple[int, ...]], found: Mapping[str, tuple[int, ...]]
) -> None:
    """Raise CheckpointError naming every missing, every extra, or the first mis-shaped tensor."""
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


def _there(path: Path) -> os.stat_result | None:
    """What stands there at one look: another process that replaces it may have it gone at the next."""
    try:
        return path.stat()
    except OSError as error:
        if error.errno in (errno.ENOENT, errno.ENOTDIR, errno.ELOOP):
            return None
        raise


def _is(itself: os.stat_result, path: Path) -> bool:
    found = _there(path)
    return found is not None and os.path.samestat(itself, found)
