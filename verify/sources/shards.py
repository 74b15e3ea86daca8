"""Reads the tensors of a Hugging Face directory as they are stored: safetensors or pickles, whole or in shards."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open

from verify.errors import CannotJudgeError
from verify.sources.directory import SourceDirectory
from verify.sources.refusal import refusal
from verify.sources.torch_files import mapped, refusing, shown
from verify.system.optional_imports import one_line

_DTYPES = {"F64": torch.float64, "F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16}

# In the order in which transformers looks for them.
WHOLE_NAMES = (
    *("model.safetensors", "model.safetensors.index.json"),
    *("pytorch_model.bin", "pytorch_model.bin.index.json"),
)


@dataclass(frozen=True)
class Header:
    shard: str
    dtype: torch.dtype
    shape: tuple[int, ...]


def _no_tensor(_name: str) -> bool:
    return False


class Shards:
    """Reads weights that stand in one file or are listed by an index. headers: by the tensors' stored names.
    is_standard: whether an index, if there is one, has the metadata without which transformers loads nothing.
    unwanted: the number of tensors without a header. Every error is a CannotJudgeError."""

    def __init__(
        self,
        directory: SourceDirectory,
        names: tuple[str, ...] = WHOLE_NAMES,
        is_unwanted: Callable[[str], bool] = _no_tensor,
    ) -> None:
        """names: of weight files and their indexes, the first that is there counts. is_unwanted: by its name, whether
        nobody reads a tensor, which may then be of any type."""
        self.headers: dict[str, Header] = {}
        self.is_standard = True
        self._directory, self._is_unwanted = directory, is_unwanted
        found = [name for name in names if directory.has(name)]
        if not found:
            raise CannotJudgeError(f"{directory.path}: expected one of {', '.join(names)}, found none")
        index = self._index(found)
        for shard in sorted(set(index.values())) if index else [found[0]]:
            headers = self._read_headers(directory.take(shard))
            listed = {name for name, holder in index.items() if holder == shard} if index else headers.keys()
            for name in sorted(headers.keys() ^ listed):
                where = ("its index", "the shard") if name in headers else ("the shard", "its index")
                beside = directory.path / shard
                raise refusal(beside, name, f"in {where[0]} as in {where[1]}", "no such tensor there")
            self.headers |= headers
        unwanted = [name for name in self.headers if is_unwanted(name)]
        self.unwanted = len(unwanted)
        for name in unwanted:
            del self.headers[name]

    def read(self, name: str) -> torch.Tensor:
        """Return one tensor as it is stored, no longer mapped."""
        self._directory.expect_unchanged()
        path = self.place(name)
        if path.suffix == ".bin":
            return _unpickled(path, self._is_unwanted)[name].detach().clone(memory_format=torch.contiguous_format)
        try:
            with safe_open(str(path), framework="pt", device="cpu") as shard:
                tensor: torch.Tensor = shard.get_tensor(name)
        except (OSError, SafetensorError) as error:
            raise refusal(path, name, "a tensor that can be read", one_line(error)) from error
        return tensor.clone()

    def place(self, name: str) -> Path:
        """Return the file that holds a tensor."""
        return self._directory.path / self.headers[name].shard

    def _index(self, found: list[str]) -> dict[str, str]:
        """Return which shard holds each tensor, by the index that counts; {} where there is none."""
        first = found[0]
        if first.endswith(".json"):
            return self._weight_map(first)
        if f"{first}.index.json" not in found:
            return {}
        index = self._weight_map(f"{first}.index.json")
        # mlx-lm writes an index beside its only file; of two different models programs take either
        if set(index.values()) != {first}:
            raise CannotJudgeError(f"{self._directory.path}: expected {first} or an index of shards, found both")
        return index

    def _weight_map(self, name: str) -> dict[str, str]:
        path, suffix = self._directory.path / name, name.removesuffix(".index.json").rpartition(".")[2]
        said = self._directory.read_json(name)
        self.is_standard = isinstance(said.get("metadata"), dict)
        weight_map = said.get("weight_map")
        if not isinstance(weight_map, dict) or not weight_map:
            raise refusal(path, "weight_map", "tensor names with the shard of each", type(weight_map).__name__)
        for tensor, shard in weight_map.items():
            plain = isinstance(shard, str) and shard.isprintable() and Path(shard).name == shard
            if not plain or not shard.endswith(f".{suffix}"):
                where = f"weight_map: {tensor[:80]!a}"
                raise refusal(path, where, f"the name of a .{suffix} file beside the index", repr(shard)[:80])
        return weight_map

    def _read_headers(self, path: Path) -> dict[str, Header]:
        shard = path.name
        if path.suffix == ".bin":
            tensors = _unpickled(path, self._is_unwanted)
            return {name: Header(shard, t.dtype, tuple(t.shape)) for name, t in tensors.items()}
        headers = {}
        try:
            with safe_open(str(path), framework="pt", device="cpu") as opened:
                for name in opened.keys():  # noqa: SIM118  # it is no mapping
                    part = opened.get_slice(name)
                    if part.get_dtype() not in _DTYPES and not self._is_unwanted(name):
                        raise refusal(path, name, f"a tensor of {', '.join(_DTYPES)}", part.get_dtype())
                    dtype = _DTYPES.get(part.get_dtype(), torch.uint8)
                    headers[name] = Header(shard, dtype, tuple(part.get_shape()))
        except (OSError, SafetensorError) as error:
            raise CannotJudgeError(f"{path}: expected safetensors, found: {one_line(error)}") from error
        return headers


def _unpickled(path: Path, is_unwanted: Callable[[str], bool]) -> dict[str, torch.Tensor]:
    """Return name -> mapped tensor of a .bin, in which nothing but tensors may be pickled."""
    with refusing(path, "a PyTorch state dict"):
        state = mapped(path)
    if not isinstance(state, dict):
        raise CannotJudgeError(f"{path}: expected a PyTorch state dict, found {type(state).__name__}")
    for name, tensor in state.items():
        plain = isinstance(tensor, torch.Tensor) and tensor.layout == torch.strided
        known = plain and tensor.dtype in _DTYPES.values()
        if not isinstance(name, str) or not (known or (plain and is_unwanted(name))):
            raise refusal(path, shown(name), "one dense float tensor", "otherwise")
    return dict(state)
