"""A Hugging Face directory's weight files: which ones they are, what they hold, and one tensor at a time of it."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING, Any

import ml_dtypes
import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open

from exporter.checkpoint import Dtype
from exporter.errors import CheckpointError
from exporter.file_identity import identity, refuse_changed
from exporter.sources.source_files import check_file
from exporter.strict_json import read_object, shown

if TYPE_CHECKING:
    import torch

# The one file, or the index of several and how they are called; the first kind that is there counts.
_SAFETENSORS = ("model.safetensors", "model.safetensors.index.json", "model-*-of-*.safetensors")
_PICKLED = ("pytorch_model.bin", "pytorch_model.bin.index.json", "pytorch_model-*-of-*.bin")

# float64 is read as float32, and refused where that is another number.
_DTYPES: dict[str, Dtype] = {"F32": "fp32", "F16": "fp16", "BF16": "bf16", "F64": "fp32"}
_ELEMENT_BYTES = {
    **dict.fromkeys(("BOOL", "U8", "I8", "F8_E4M3", "F8_E5M2", "F8_E8M0"), 1),
    **dict.fromkeys(("I16", "U16", "F16", "BF16"), 2),
    **dict.fromkeys(("I32", "U32", "F32"), 4),
    **dict.fromkeys(("I64", "U64", "F64", "C64"), 8),
}
# numpy knows bfloat16 because of ml_dtypes
_NUMPY_DTYPES = {"F32": "<f4", "F16": "<f2", "BF16": ml_dtypes.bfloat16, "F64": "<f8"}
_TORCH_DTYPES = {"float32": "F32", "float16": "F16", "bfloat16": "BF16", "float64": "F64"}


@dataclass(frozen=True)
class Stored:
    """A tensor in a file. dtype: as safetensors calls it; offset: where its bytes begin in a safetensors file."""

    file: Path
    shape: tuple[int, ...]
    dtype: str
    offset: int = 0


def _none(_name: str) -> bool:
    return False


class WeightFiles:
    """All the tensors of some files. files: what they are read from, the index first where there is one; opened:
    what these were before; left_out: the number of tensors that are none of tensors."""

    def __init__(
        self, holding: tuple[Path, ...], index: Path | None = None, leave_out: Callable[[str], bool] = _none
    ) -> None:
        """leave_out: says by its name which tensor is not wanted, and may be of any type."""
        self.files = holding if index is None else (index, *holding)
        self.opened = {file: identity(file) for file in self.files}
        held = {file: _list(file, leave_out) for file in holding}
        merged = _merge(held)
        self.tensors = {name: stored for name, stored in merged.items() if not leave_out(name)}
        self.left_out = len(merged) - len(self.tensors)
        if index is not None:
            _check_index(index, {name: entry.name for name, entry in _entries(index).items()}, held)

    @classmethod
    def of_directory(
        cls, directory: Path, *, follow_links: bool, leave_out: Callable[[str], bool] = _none
    ) -> WeightFiles:
        """Those that transformers would take. Raises CheckpointError."""
        index, holding = _find(directory, follow_links=follow_links)
        return cls(holding, index, leave_out)

    def dtype(self, name: str) -> Dtype:
        return _DTYPES[self.tensors[name].dtype]

    def rows(self, name: str, rows: range) -> NDArray[Any]:
        """Some rows of a tensor that is seen as a matrix of its last axis, in the type that it is stored as."""
        stored = self.tensors[name]
        width = stored.shape[-1] if stored.shape else 1
        flat = replace(stored, shape=(prod(stored.shape) // max(1, width), width))
        return self._read(name, flat, slice(rows.start, rows.stop))

    def read(self, name: str, rows: slice | None = None) -> NDArray[Any]:
        """A tensor, or some of its rows, in the type that it is stored as."""
        return self._read(name, self.tensors[name], rows)

    def _read(self, name: str, stored: Stored, rows: slice | None) -> NDArray[Any]:
        file = stored.file
        refuse_changed(file, self.opened[file])
        if file.suffix == ".safetensors":
            array = _read_safetensors(stored, name, rows)
        else:
            array = _read_pickled(stored, name, rows)
        refuse_changed(file, self.opened[file])
        return array


def has_weights(directory: Path) -> bool:
    """Whether one of the files is there that transformers looks for."""
    return any(os.path.lexists(directory / name) for name in _SAFETENSORS[:2] + _PICKLED[:2])


def _find(directory: Path, *, follow_links: bool) -> tuple[Path | None, tuple[Path, ...]]:
    """The index, if any, and the files that hold tensors."""
    for single, index, pattern in (_SAFETENSORS, _PICKLED):
        there = [name for name in (single, index) if os.path.lexists(directory / name)]
        shards = {path.name for path in directory.glob(pattern)}
        if not there and shards:
            raise CheckpointError(f"{directory}: missing {index}, found {min(shards)} without it")
        if not there:
            continue
        for name in there:
            check_file(directory / name, follow_links=follow_links)
        files = {single: directory / single}
        if index in there:
            files = _shards(directory / index, follow_links=follow_links)
        # mlx-lm writes an index of the one file too
        if len(there) == 2 and set(files) != {single}:
            raise CheckpointError(
                f"{directory}: expected either {single} or {index}, or an index of {single} alone, found both"
            )
        extra = sorted(shards - set(files))
        if extra:
            raise CheckpointError(f"{directory / extra[0]}: expected no shard beside those of {there[-1]}, found one")
        return (directory / index if index in there else None), tuple(files.values())
    raise CheckpointError(
        f"{directory}: expected one of {', '.join(_SAFETENSORS[:2] + _PICKLED[:2])} in it, found none"
    )


def _entries(index: Path) -> dict[str, Path]:
    """The index's weight_map: tensor -> file, each in the index's own directory."""
    weight_map = read_object(index).get("weight_map")
    if not isinstance(weight_map, dict) or not weight_map:
        raise CheckpointError(f"{index}: weight_map: expected an object that names files, found {shown(weight_map)}")
    suffix = ".safetensors" if index.name == _SAFETENSORS[1] else ".bin"
    for tensor, name in weight_map.items():
        where = f"{index}: weight_map: {shown(tensor)}"
        if not isinstance(name, str) or not name.isprintable() or not name.endswith(suffix):
            raise CheckpointError(f"{where}: expected the name of a {suffix} file, found {shown(name)}")
        if "/" in name or "\\" in name or name == suffix:
            raise CheckpointError(f"{where}: expected a file in this directory, found {shown(name)}")
    return {tensor: index.parent / name for tensor, name in weight_map.items()}


def _shards(index: Path, *, follow_links: bool) -> dict[str, Path]:
    files = {path.name: path for path in _entries(index).values()}
    for path in files.values():
        if not os.path.lexists(path):
            raise CheckpointError(f"{index}: missing {path.name}")
        check_file(path, follow_links=follow_links)
    return dict(sorted(files.items()))


def _list(path: Path, leave_out: Callable[[str], bool]) -> dict[str, Stored]:
    stored = _list_safetensors(path) if path.suffix == ".safetensors" else _list_pickled(path, leave_out)
    for name, tensor in stored.items():
        if not name.isprintable():
            raise CheckpointError(f"{path}: expected printable names of tensors, found {shown(name)}")
        if tensor.dtype not in _DTYPES and not leave_out(name):
            raise CheckpointError(f"{path}: {name}: expected one of {', '.join(_DTYPES)}, found {tensor.dtype}")
    return stored


def _merge(held: Mapping[Path, Mapping[str, Stored]]) -> dict[str, Stored]:
    tensors: dict[str, Stored] = {}
    for path, stored in held.items():
        for name, tensor in stored.items():
            if name in tensors:
                raise CheckpointError(
                    f"{path}: {name}: expected in one shard, found in {tensors[name].file.name} too"
                )
            tensors[name] = tensor
    return tensors


def _check_index(index: Path, entries: Mapping[str, str], held: Mapping[Path, Mapping[str, Stored]]) -> None:
    """The index and the shards say the same of every tensor."""
    found = {name: path.name for path, stored in held.items() for name in stored}
    for name, file in entries.items():
        if name not in found:
            raise CheckpointError(f"{index}: {shown(name)}: expected in {file}, found in no shard")
        if found[name] != file:
            raise CheckpointError(f"{index}: {name}: expected in {file}, found in {found[name]}")
    for name, file in found.items():
        if name not in entries:
            raise CheckpointError(
                f"{index.parent / file}: {name}: expected in {index.name}, found in the shard alone"
            )


def _list_safetensors(path: Path) -> dict[str, Stored]:
    """The library has checked that the tensors follow each other without a gap, from the header to the end."""
    stored = {}
    try:
        with path.open("rb") as content, safe_open(path, framework="np") as file:
            at = 8 + int.from_bytes(content.read(8), "little")
            for name in file.offset_keys():
                tensor = file.get_slice(name)
                shape, dtype = tuple(tensor.get_shape()), tensor.get_dtype()
                if dtype not in _ELEMENT_BYTES:
                    raise CheckpointError(f"{path}: {shown(name)}: expected a type of whole bytes, found {dtype}")
                stored[name] = Stored(path, shape, dtype, at)
                at += prod(shape) * _ELEMENT_BYTES[dtype]
    except (SafetensorError, OSError) as error:
        raise _damaged(path, "safetensors", error) from error
    if at != path.stat().st_size:
        raise CheckpointError(f"{path}: changed while it was being read")
    return stored


def _read_safetensors(stored: Stored, name: str, rows: slice | None) -> NDArray[Any]:
    """Read, not mapped, from where the header has it: a file that becomes shorter meanwhile ends in an error and not
    in a signal, and other threads go on."""
    shape, dtype = stored.shape, np.dtype(_NUMPY_DTYPES[stored.dtype])
    first, count = 0, prod(shape)
    if rows is not None:
        first, last, _ = rows.indices(shape[0])
        shape = (last - first, *shape[1:])
        first, count = first * prod(shape[1:]), prod(shape)
    try:
        array = np.fromfile(stored.file, dtype, count, offset=stored.offset + first * dtype.itemsize)
    except OSError as error:
        raise _damaged(stored.file, "safetensors", error) from error
    if array.size != count:
        raise CheckpointError(f"{stored.file}: {name}: expected {count} numbers, found {array.size}: it was cut")
    return array.reshape(shape)


def _damaged(path: Path, kind: str, error: BaseException) -> CheckpointError:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()] or [type(error).__name__]
    return CheckpointError(f"{path}: expected {kind}, found a damaged file or one of another kind: {lines[0][:200]}")


def _list_pickled(path: Path, leave_out: Callable[[str], bool]) -> dict[str, Stored]:
    stored = {}
    for name, value in _load_pickled(path).items():
        if leave_out(name):
            stored[name] = Stored(path, (), "none")
            continue
        tensor = _checked(path, name, value)
        dtype = str(tensor.dtype).removeprefix("torch.")
        stored[name] = Stored(path, tuple(tensor.shape), _TORCH_DTYPES.get(dtype, dtype))
    return stored


def _read_pickled(stored: Stored, name: str, rows: slice | None) -> NDArray[Any]:
    import torch  # noqa: PLC0415

    tensor = _checked(stored.file, name, _load_pickled(stored.file)[name]).detach().reshape(stored.shape)
    tensor = (tensor if rows is None else tensor[rows]).contiguous()
    if tensor.dtype == torch.bfloat16:  # which torch does not hand to numpy as it is
        return tensor.view(torch.int16).numpy().view(ml_dtypes.bfloat16)
    array: NDArray[np.floating[Any]] = tensor.numpy()
    return array


def _load_pickled(path: Path) -> dict[str, Any]:
    """A state dict with its tensors mapped, not read."""
    # imported late: it loads torch, which takes seconds and safetensors does not need
    from exporter.sources.torch_files import load_mapped  # noqa: PLC0415

    contents = load_mapped(path)
    if not isinstance(contents, dict):
        raise CheckpointError(f"{path}: expected a dict of tensors, found {type(contents).__name__}")
    for name in contents:
        if not isinstance(name, str):
            raise CheckpointError(f"{path}: expected names of tensors, found the key {shown(name)}")
    return contents


def _checked(path: Path, name: str, value: object) -> torch.Tensor:
    from exporter.sources.torch_files import checked_tensor  # noqa: PLC0415

    return checked_tensor(f"{path}: {name if name.isprintable() else shown(name)}", value)
