"""One weight file of a Hugging Face directory, read without the library that reads the source's.

A safetensors file is an 8-byte length, a JSON header of that length, and the tensors' bytes without a gap.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from verify.errors import CannotJudgeError
from verify.sources.torch_files import mapped
from verify.system.optional_imports import one_line

# safetensors' name of a type -> (name in reports, numpy's type of the bytes)
_TYPES = {"F32": ("fp32", "<f4"), "F16": ("fp16", "<f2"), "BF16": ("bf16", "<u2")}
_TORCH_TYPES = {torch.float32: "F32", torch.float16: "F16", torch.bfloat16: "BF16"}
# Of a header: those of the largest models have some 10 MB.
_MOST_BYTES = 100 * 1000 * 1000


@dataclass(frozen=True)
class StoredTensor:
    """One tensor of a file, or some of its rows. storage: "fp32", "fp16" or "bf16". offset: of its bytes in a
    safetensors file. first: the number of its first row."""

    file: Path
    name: str
    storage: str
    shape: tuple[int, ...]
    offset: int = 0
    first: int = 0

    def part(self, first: int, count: int) -> StoredTensor:
        """Return some rows of the tensor as a tensor of its own."""
        row = self.nbytes // self.shape[0]
        return replace(self, shape=(count, *self.shape[1:]), offset=self.offset + first * row, first=first)

    @property
    def nbytes(self) -> int:
        return prod(self.shape) * (4 if self.storage == "fp32" else 2)

    def read(self) -> NDArray[Any]:
        """Return the tensor as it is stored; bfloat16 as its bits in uint16. Raises CannotJudgeError."""
        if self.file.suffix == ".bin":
            tensor = mapped(self.file)[self.name].detach().contiguous()
            # a tensor without rows has no part
            tensor = tensor[self.first : self.first + self.shape[0]] if self.shape else tensor
            wide = tensor.view(torch.int16).numpy().view(np.uint16) if self.storage == "bf16" else tensor.numpy()
            return np.array(wide)
        dtype = next(numpy for name, numpy in _TYPES.values() if name == self.storage)
        try:
            # read and not mapped: a file that is cut meanwhile ends in an error and not in a signal
            array = np.fromfile(self.file, dtype, prod(self.shape), offset=self.offset)
        except OSError as error:
            raise CannotJudgeError(f"{self.file}: {(error.strerror or str(error)).lower()}") from error
        if array.size != prod(self.shape):
            raise CannotJudgeError(f"{self.file}: changed while it was being judged")
        return array.reshape(self.shape)


def read_headers(path: Path) -> dict[str, StoredTensor]:
    """Return the tensors of a file by their own names. Raises ValueError where it is not whole."""
    return _pickled(path) if path.suffix == ".bin" else _safetensors(path)


def _pickled(path: Path) -> dict[str, StoredTensor]:
    try:
        state = mapped(path)
    except Exception as error:  # torch.load's failures have no common class
        raise ValueError(f"expected a PyTorch state dict, found: {one_line(error)}") from error
    if not isinstance(state, dict):
        raise ValueError(f"expected a PyTorch state dict, found {type(state).__name__}")  # noqa: TRY004  # one kind for all
    held = {}
    for name, tensor in state.items():
        kind = _TORCH_TYPES.get(tensor.dtype) if isinstance(tensor, torch.Tensor) else None
        if not isinstance(name, str) or kind is None or tensor.layout != torch.strided:
            raise ValueError(
                f"{str(name)[:80]!a}: expected a tensor of float32, float16 or bfloat16, found otherwise"
            )
        held[name] = StoredTensor(path, name, _TYPES[kind][0], tuple(tensor.shape))
    return held


def _safetensors(path: Path) -> dict[str, StoredTensor]:
    size = path.stat().st_size
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        if size < 8 or length > min(size - 8, _MOST_BYTES):
            raise ValueError(f"header: expected {length} bytes after the first 8, found {max(size - 8, 0)}")
        header = _header(file.read(length))
    held = {name: _entry(path, name, said, 8 + length) for name, said in header.items() if name != "__metadata__"}
    at, before = 8 + length, "the header"
    for tensor in sorted(held.values(), key=lambda tensor: (tensor.offset, tensor.nbytes)):
        if tensor.offset != at:
            raise ValueError(
                f"{tensor.name}: expected to begin at byte {at}, where {before} ends, found {tensor.offset}"
            )
        at, before = at + tensor.nbytes, tensor.name
    if at != size:
        raise ValueError(f"size: expected {at} bytes, where {before} ends, found {size}")
    return held


def _header(content: bytes) -> dict[str, Any]:
    def once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for key, value in pairs:
            if key in found:
                raise ValueError(f"{key[:80]!a} twice")
            found[key] = value
        return found

    try:
        header = json.loads(content.decode(), object_pairs_hook=once)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"header: expected JSON with each key once, found: {one_line(error)}") from error
    if not isinstance(header, dict):
        raise ValueError(f"header: expected an object, found {type(header).__name__}")  # noqa: TRY004  # likewise
    return header


def _entry(path: Path, name: str, said: Any, start: int) -> StoredTensor:
    """Return one tensor of a header. Raises ValueError."""
    where = f"{name[:80]!a}" if not name.isprintable() else name[:200]
    said = said if isinstance(said, dict) else {}
    kind, shape, ends = (said.get(key) for key in ("dtype", "shape", "data_offsets"))
    # JSON's lists and objects cannot be looked up
    if not isinstance(kind, str) or kind not in _TYPES:
        raise ValueError(f"{where}: dtype: expected {', '.join(_TYPES)}, found {kind!r:.80}")
    if not _are_sizes(shape):
        raise ValueError(f"{where}: shape: expected sizes, found {shape!r:.80}")
    if not _are_sizes(ends) or len(ends) != 2:
        raise ValueError(f"{where}: data_offsets: expected two offsets, found {ends!r:.80}")
    tensor = StoredTensor(path, name, _TYPES[kind][0], tuple(shape), start + ends[0])
    if ends[1] - ends[0] != tensor.nbytes:
        raise ValueError(f"{where}: data_offsets: expected {tensor.nbytes} bytes of {kind} {shape}, found {ends}")
    return tensor


def _are_sizes(found: object) -> bool:
    return isinstance(found, list) and all(isinstance(n, int) and not isinstance(n, bool) and n >= 0 for n in found)
