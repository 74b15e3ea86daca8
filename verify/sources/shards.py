"""The tensors of a Hugging Face directory as they are stored: safetensors or pickles, whole or in shards."""

from __future__ import annotations

import pickle
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open

from verify.errors import CannotJudgeError
from verify.sources.opened import Opened
from verify.sources.torch_files import mapped, sha256, shown
from verify.system.optional_imports import one_line
from verify.system.reading import read_hashed

_DTYPES = {"F64": torch.float64, "F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16}

# Of JSON. Indexes of the largest models have some hundred thousand entries of a hundred bytes.
_MOST_BYTES = 10 * 1000 * 1000

# In the order in which transformers looks for them.
_WHOLE = ("model.safetensors", "model.safetensors.index.json", "pytorch_model.bin", "pytorch_model.bin.index.json")


@dataclass(frozen=True)
class Header:
    shard: str
    dtype: torch.dtype
    shape: tuple[int, ...]


class Shards:
    """headers: by the tensors' own names. files: name -> sha256 of each file that was read. Every error is a
    CannotJudgeError."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.files: dict[str, str] = {}
        self.headers: dict[str, Header] = {}
        self._opened = Opened()
        found = [name for name in _WHOLE if (directory / name).is_file()]
        if not found:
            raise CannotJudgeError(f"{directory}: expected one of {', '.join(_WHOLE)}, found none")
        # programs differ in which they take
        both = [name for name in found if f"{name}.index.json" in found]
        if both:
            raise CannotJudgeError(f"{directory}: expected {both[0]} or an index of shards, found both")
        index = self._weight_map(found[0]) if found[0].endswith(".json") else None
        for shard in sorted(set(index.values())) if index else [found[0]]:
            self._note(shard)
            self.files[shard] = sha256(self.directory / shard)
            headers = self._read_headers(shard)
            listed = {name for name, holder in index.items() if holder == shard} if index else headers.keys()
            for name in sorted(headers.keys() ^ listed):
                where = ("its index", "the shard") if name in headers else ("the shard", "its index")
                raise _refuse(directory / shard, name, f"in {where[0]} as in {where[1]}", "no such tensor there")
            self.headers |= headers

    def read_json(self, name: str) -> dict[str, Any]:
        """A file beside the weights that decides what they mean."""
        self._note(name)
        said, self.files[name] = read_hashed(self.directory / name, _MOST_BYTES)
        return said

    def read(self, name: str) -> torch.Tensor:
        """One tensor as it is stored, no longer mapped."""
        self.expect_unchanged()
        path = self.directory / self.headers[name].shard
        if path.suffix == ".bin":
            return _unpickled(path)[name].detach().clone(memory_format=torch.contiguous_format)
        try:
            with safe_open(str(path), framework="pt", device="cpu") as shard:
                tensor: torch.Tensor = shard.get_tensor(name)
        except (OSError, SafetensorError) as error:
            raise _refuse(path, name, "a tensor that can be read", one_line(error)) from error
        return tensor.clone()

    def expect_unchanged(self) -> None:
        self._opened.expect_unchanged()

    def _note(self, name: str) -> None:
        path = self.directory / name
        # a FIFO would be waited for, a device read without end
        if path.exists() and not path.is_file():
            raise CannotJudgeError(f"{path}: expected a file, found no regular file")
        if path.exists() and not _is_beside(path):
            raise CannotJudgeError(f"{path}: expected a file in its directory, found a link out of it")
        self._opened.note(path)

    def _weight_map(self, name: str) -> dict[str, str]:
        path, suffix = self.directory / name, name.removesuffix(".index.json").rpartition(".")[2]
        weight_map = self.read_json(name).get("weight_map")
        if not isinstance(weight_map, dict) or not weight_map:
            raise _refuse(path, "weight_map", "tensor names with the shard of each", type(weight_map).__name__)
        for tensor, shard in weight_map.items():
            plain = isinstance(shard, str) and shard.isprintable() and Path(shard).name == shard
            if not plain or not shard.endswith(f".{suffix}"):
                where = f"weight_map: {tensor[:80]!a}"
                raise _refuse(path, where, f"the name of a .{suffix} file beside the index", repr(shard)[:80])
        return weight_map

    def _read_headers(self, shard: str) -> dict[str, Header]:
        path = self.directory / shard
        if path.suffix == ".bin":
            return {name: Header(shard, t.dtype, tuple(t.shape)) for name, t in _unpickled(path).items()}
        headers = {}
        try:
            with safe_open(str(path), framework="pt", device="cpu") as opened:
                for name in opened.keys():  # noqa: SIM118  # it is no mapping
                    part = opened.get_slice(name)
                    if part.get_dtype() not in _DTYPES:
                        raise _refuse(path, name, f"a tensor of {', '.join(_DTYPES)}", part.get_dtype())
                    headers[name] = Header(shard, _DTYPES[part.get_dtype()], tuple(part.get_shape()))
        except (OSError, SafetensorError) as error:
            raise CannotJudgeError(f"{path}: expected safetensors, found: {one_line(error)}") from error
        return headers


def _is_beside(path: Path) -> bool:
    """Whether what a name leads to stands in its directory, or among the blobs of the same model in a hub's cache
    (models--org--name/snapshots/revision/name is a link to models--org--name/blobs/digest)."""
    directory, real = path.parent.resolve(), path.resolve()
    if real.parent == directory:
        return True
    model = directory.parent.parent
    return (
        directory.parent.name == "snapshots" and model.name.startswith("models--") and real.parent == model / "blobs"
    )


def _unpickled(path: Path) -> dict[str, torch.Tensor]:
    """Name -> mapped tensor of a .bin, in which nothing but tensors may be pickled."""
    try:
        state = mapped(path)
    except pickle.UnpicklingError as error:
        raise CannotJudgeError(f"{path}: expected plain tensors, found a pickle that asks for more") from error
    except Exception as error:  # torch.load's failures have no common class
        raise CannotJudgeError(f"{path}: expected a PyTorch state dict, found: {one_line(error)}") from error
    if not isinstance(state, dict):
        raise CannotJudgeError(f"{path}: expected a PyTorch state dict, found {type(state).__name__}")
    for name, tensor in state.items():
        plain = isinstance(tensor, torch.Tensor) and tensor.layout == torch.strided
        if not isinstance(name, str) or not plain or tensor.dtype not in _DTYPES.values():
            raise _refuse(path, shown(name), "one dense float tensor", "otherwise")
    return dict(state)


def _refuse(path: Path, what: str, expected: object, found: object) -> CannotJudgeError:
    return CannotJudgeError(f"{path}: {what}: expected {expected}, found {found}")
