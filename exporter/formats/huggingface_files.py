"""Plan the files of a directory for transformers: config.json, and safetensors in one file or several with an index.

safetensors' own writer needs every tensor in memory at once. Its container is an 8-byte length, a JSON header and the
tensors' bytes, so that the exporter writes it itself.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from math import prod
from typing import Any

import ml_dtypes
import numpy as np

from exporter.checkpoint import Checkpoint, Dtype
from exporter.config import ModelConfig, tensor_shapes
from exporter.families import Family, family_that_computes
from exporter.formats.huggingface_config import config_json
from exporter.huggingface_names import places

NUMPY_DTYPES: dict[Dtype, np.dtype[Any]] = {
    "fp32": np.dtype(np.float32),
    "fp16": np.dtype(np.float16),
    "bf16": np.dtype(ml_dtypes.bfloat16),
}
_SAFETENSORS_DTYPES: dict[Dtype, str] = {"fp32": "F32", "fp16": "F16", "bf16": "BF16"}


@dataclass(frozen=True)
class Part:
    """One of the model's tensors, by llama2.c's name. halves: whether the file has the pairs of a head in halves."""

    name: str
    shape: tuple[int, ...]
    halves: bool = True


@dataclass(frozen=True)
class StoredTensor:
    """One tensor as a safetensors file holds it: the rows of its parts, most often of one. name: Hugging Face's."""

    name: str
    dtype: Dtype
    parts: tuple[Part, ...]

    @property
    def shape(self) -> tuple[int, ...]:
        """Return its shape in the file."""
        _, *rest = self.parts[0].shape
        return (sum(part.shape[0] for part in self.parts), *rest)

    @property
    def bytes(self) -> int:
        """Return its size in the file."""
        return prod(self.shape) * NUMPY_DTYPES[self.dtype].itemsize


@dataclass(frozen=True)
class PlannedFile:
    """One file to write: its first bytes, and the tensors that follow them without gaps."""

    name: str
    head: bytes
    tensors: tuple[StoredTensor, ...] = ()

    @property
    def bytes(self) -> int:
        """Return the size of the whole file."""
        return len(self.head) + sum(tensor.bytes for tensor in self.tensors)


def plan_files(
    checkpoint: Checkpoint, config: ModelConfig, shard_bytes: int, token_ids: Mapping[str, object]
) -> list[PlannedFile]:
    """Return the files of a directory, each tensor in its source's type.

    shard_bytes: the most bytes of tensors in one file; a larger tensor gets a file of its own. token_ids: fields of
    config.json. Raises FormatError where transformers cannot express config.
    """
    family = family_that_computes(config, checkpoint.family)
    tensors = _stored_tensors(checkpoint, config, family)
    described = config_json(config, _commonest(tensors), token_ids, family)
    files = [PlannedFile("config.json", _json(described))]
    shards = list(_shards(tensors, shard_bytes))
    if len(shards) == 1:
        return [*files, _container("model.safetensors", tensors)]
    names = [f"model-{number:05}-of-{len(shards):05}.safetensors" for number in range(1, len(shards) + 1)]
    index = {
        "metadata": {"total_size": sum(tensor.bytes for tensor in tensors)},
        "weight_map": {t.name: name for name, shard in zip(names, shards, strict=True) for t in shard},
    }
    files.append(PlannedFile("model.safetensors.index.json", _json(index)))
    files += [_container(name, shard) for name, shard in zip(names, shards, strict=True)]
    return files


def _stored_tensors(checkpoint: Checkpoint, config: ModelConfig, family: Family) -> list[StoredTensor]:
    """Return the tensors of the directory. A fused one whose parts have different types is float32, which has all."""
    parts: dict[str, list[Part]] = {}
    shapes = tensor_shapes(config)
    for name, place in places(config, fused=family.fused, experts=family.expert_names).items():
        parts.setdefault(place.name, []).append(Part(name, shapes[name], halves=not family.neighbours))
    stored = []
    for name, held in parts.items():
        dtypes = {checkpoint.dtype(part.name) for part in held}
        stored.append(StoredTensor(name, dtypes.pop() if len(dtypes) == 1 else "fp32", tuple(held)))
    return stored


def _shards(tensors: Iterable[StoredTensor], shard_bytes: int) -> Iterator[list[StoredTensor]]:
    """Yield runs of tensors within shard_bytes; a larger tensor stands alone."""
    shard: list[StoredTensor] = []
    size = 0
    for tensor in tensors:
        if shard and size + tensor.bytes > shard_bytes:
            yield shard
            shard, size = [], 0
        shard.append(tensor)
        size += tensor.bytes
    yield shard


def _container(name: str, tensors: Iterable[StoredTensor]) -> PlannedFile:
    """Return a safetensors file: wider types first as in safetensors' own writer, otherwise in the model's order.

    Behind an odd count of 2-byte elements, a float32 would not be aligned, and could not be used in a mapped file.
    """
    ordered = sorted(tensors, key=lambda tensor: -NUMPY_DTYPES[tensor.dtype].itemsize)
    header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    at = 0
    for tensor in ordered:
        header[tensor.name] = {
            "dtype": _SAFETENSORS_DTYPES[tensor.dtype],
            "shape": tensor.shape,
            "data_offsets": [at, at + tensor.bytes],
        }
        at += tensor.bytes
    text = json.dumps(header, sort_keys=True, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    return PlannedFile(name, len(text).to_bytes(8, "little") + text, tuple(ordered))


def _commonest(tensors: Iterable[StoredTensor]) -> Dtype:
    """Return the type that most weights have; where two are as common, float32 before float16 before bfloat16."""
    counts: dict[Dtype, int] = dict.fromkeys(NUMPY_DTYPES, 0)
    for tensor in tensors:
        counts[tensor.dtype] += prod(tensor.shape)
    return max(counts, key=lambda dtype: counts[dtype])


def _json(content: dict[str, Any]) -> bytes:
    return (json.dumps(content, indent=2, sort_keys=True, allow_nan=False) + "\n").encode()
