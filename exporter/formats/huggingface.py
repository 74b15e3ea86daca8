"""A directory that transformers loads: config.json and safetensors, written tensor by tensor.

safetensors' own writer wants every tensor at once; the container is an eight byte length, a JSON header and the
bytes, so that it is written here. q and k get back the row order in which transformers rotates halves of a head.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, fields
from math import prod
from pathlib import Path
from typing import Any, BinaryIO

import ml_dtypes
import numpy as np
from numpy.typing import NDArray

from exporter.checkpoint import Checkpoint, Dtype, Weights
from exporter.config import ROPE_SCALING_FIELDS, ModelConfig, RopeScaling, tensor_shapes
from exporter.errors import FormatError, WeightError
from exporter.huggingface_names import hugging_face_name
from exporter.place import appearing_directory, resolve_directory_target
from exporter.write import Progress, TensorSummary

_ACTIVATIONS = {"silu": "silu", "gelu": "gelu", "gelu_tanh": "gelu_pytorch_tanh"}
_SCALING_NAMES = {"original_max_positions": "original_max_position_embeddings"}
_SCALING_FLOATS = {field.name for field in fields(RopeScaling) if field.type == "float"}

# Of each type: what numpy calls it, safetensors, config.json.
_STORED: dict[Dtype, tuple[np.dtype[Any], str, str]] = {
    "fp32": (np.dtype(np.float32), "F32", "float32"),
    "fp16": (np.dtype(np.float16), "F16", "float16"),
    "bf16": (np.dtype(ml_dtypes.bfloat16), "BF16", "bfloat16"),
}

# Elements narrowed, checked and written together: little beside a tensor.
_BLOCK = 1 << 20


@dataclass(frozen=True)
class HuggingFaceSummary:
    """What was written. bytes: of all files together; digests: file name -> SHA-256.

    sha256: of the text that has "digest  name\\n" for each file, sorted by name; in the directory,
    LC_ALL=C sha256sum * | sha256sum
    """

    bytes: int
    sha256: str
    digests: dict[str, str]
    tensors: tuple[TensorSummary, ...]


@dataclass(frozen=True)
class _Tensor:
    name: str
    stored_name: str
    dtype: Dtype
    shape: tuple[int, ...]

    @property
    def bytes(self) -> int:
        return prod(self.shape) * _STORED[self.dtype][0].itemsize


@dataclass(frozen=True)
class _File:
    """One file to be: what it begins with, and the tensors that follow without gaps."""

    name: str
    head: bytes
    tensors: tuple[_Tensor, ...] = ()

    @property
    def bytes(self) -> int:
        return len(self.head) + sum(tensor.bytes for tensor in self.tensors)


def export_huggingface(
    checkpoint: Checkpoint,
    config: ModelConfig,
    out: Path,
    *,
    overwrite: bool,
    progress: Progress | None,
    shard_bytes: int = 5 * 10**9,
) -> HuggingFaceSummary:
    """Write the directory out, each tensor in its source's type, in several files above shard_bytes.

    config: the checkpoint's, but for max_seq_len. progress is called with (bytes done, bytes in all).
    Raises CheckpointError, FormatError, WeightError or WriteError; then nothing on disk has changed, but where
    the message says what has been written.
    """
    files = _plan(checkpoint, config, shard_bytes)
    target = resolve_directory_target(out, overwrite=overwrite)
    checkpoint.refuse_as_directory(target)
    total = sum(file.bytes for file in files)
    done = 0
    digests: dict[str, str] = {}
    summaries: dict[str, TensorSummary] = {}
    with appearing_directory(target, overwrite=overwrite) as directory:
        for planned in files:
            with (directory / planned.name).open("xb") as file:
                digest = hashlib.sha256(planned.head)
                file.write(planned.head)
                done += len(planned.head)
                for tensor in planned.tensors:
                    summaries[tensor.name] = _write_tensor(file, digest, checkpoint, config, tensor)
                    done += tensor.bytes
                    if progress:
                        progress(done, total)
                file.flush()
                os.fsync(file.fileno())
            digests[planned.name] = digest.hexdigest()
        checkpoint.refuse_changed()
    lines = "".join(f"{digests[name]}  {name}\n" for name in sorted(digests))
    combined = hashlib.sha256(lines.encode()).hexdigest()
    return HuggingFaceSummary(total, combined, digests, tuple(summaries[name] for name in checkpoint.names))


def _write_tensor(
    file: BinaryIO, digest: hashlib._Hash, checkpoint: Checkpoint, config: ModelConfig, tensor: _Tensor
) -> TensorSummary:
    """Load one tensor, write it, and let it go: a block may be a view of all of it, and ends with this function."""
    for block in _stored_blocks(checkpoint, config, tensor):
        digest.update(block)
        file.write(block)
    return TensorSummary(tensor.name, tensor.shape, tensor.dtype, tensor.bytes, max_abs_error=0.0, bound=0.0)


# ---- which files ----


def _plan(checkpoint: Checkpoint, config: ModelConfig, shard_bytes: int) -> list[_File]:
    tensors = [
        _Tensor(name, hugging_face_name(name), checkpoint.dtype(name), shape)
        for name, shape in tensor_shapes(config).items()
    ]
    described = config_json(config, _commonest(tensors))
    files = [_File("config.json", _json(described))]
    shards = list(_shards(tensors, shard_bytes))
    if len(shards) == 1:
        return [*files, _File("model.safetensors", *_container(tensors))]
    names = [f"model-{number:05}-of-{len(shards):05}.safetensors" for number in range(1, len(shards) + 1)]
    index = {
        "metadata": {"total_size": sum(tensor.bytes for tensor in tensors)},
        "weight_map": {t.stored_name: name for name, shard in zip(names, shards, strict=True) for t in shard},
    }
    files.append(_File("model.safetensors.index.json", _json(index)))
    files += [_File(name, *_container(shard)) for name, shard in zip(names, shards, strict=True)]
    return files


def _shards(tensors: Iterable[_Tensor], shard_bytes: int) -> Iterator[list[_Tensor]]:
    """Runs of tensors within shard_bytes; one that is larger stands alone."""
    shard: list[_Tensor] = []
    size = 0
    for tensor in tensors:
        if shard and size + tensor.bytes > shard_bytes:
            yield shard
            shard, size = [], 0
        shard.append(tensor)
        size += tensor.bytes
    yield shard


def _container(tensors: Iterable[_Tensor]) -> tuple[bytes, tuple[_Tensor, ...]]:
    """What a safetensors file begins with, and its tensors as they follow.

    The wider types first, as safetensors' own writer has them: behind an odd count of 2 byte elements a float32
    would not be aligned, and could not be used where it is mapped. Otherwise in the model's order.
    """
    ordered = sorted(tensors, key=lambda tensor: -_STORED[tensor.dtype][0].itemsize)
    header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    at = 0
    for tensor in ordered:
        header[tensor.stored_name] = {
            "dtype": _STORED[tensor.dtype][1],
            "shape": tensor.shape,
            "data_offsets": [at, at + tensor.bytes],
        }
        at += tensor.bytes
    text = json.dumps(header, sort_keys=True, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text, tuple(ordered)


def _commonest(tensors: Iterable[_Tensor]) -> Dtype:
    """The type that most weights have; of two that are as common, float32 and then float16."""
    counts: dict[Dtype, int] = dict.fromkeys(_STORED, 0)
    for tensor in tensors:
        counts[tensor.dtype] += prod(tensor.shape)
    return max(counts, key=lambda dtype: counts[dtype])


def _json(content: dict[str, Any]) -> bytes:
    return (json.dumps(content, indent=2, sort_keys=True, allow_nan=False) + "\n").encode()


# ---- config.json ----


def config_json(config: ModelConfig, dtype: Dtype) -> dict[str, Any]:
    """config.json's content. Raises FormatError naming the first field that transformers has no place for.

    rope_theta, rope_scaling and torch_dtype are the names of transformers 4: version 5 reads them as its own,
    without a warning, and version 4 does not know version 5's. No token ids: a model's weights do not tell them,
    and Llama's defaults, which null takes back, would name two tokens of any vocabulary.
    """
    c = config
    architecture = _architecture(c)
    _check_rope(c)
    described: dict[str, Any] = {
        "hidden_size": c.dim,
        "intermediate_size": c.hidden_dim,
        "num_hidden_layers": c.n_layers,
        "num_attention_heads": c.n_heads,
        "num_key_value_heads": c.n_kv_heads,
        "head_dim": c.head_dim,
        "vocab_size": c.vocab_size,
        "max_position_embeddings": c.max_seq_len,
        "hidden_act": _ACTIVATIONS[c.activation],
        # transformers checks that this is no integer
        "rms_norm_eps": float(c.norm_eps),
        "rope_theta": float(c.rope_theta),
        "rope_scaling": _rope_scaling(c),
        "tie_word_embeddings": c.tied,
        "torch_dtype": _STORED[dtype][2],
        "bos_token_id": None,
        "eos_token_id": None,
        "pad_token_id": None,
    }
    return {**described, **architecture}


def _architecture(config: ModelConfig) -> dict[str, Any]:
    c = config
    if c.wo_bias and not c.qkv_bias:
        raise FormatError(
            "wo_bias: expected none without qkv_bias: transformers' Llama has both or neither, found one"
        )
    if c.qkv_bias and not c.wo_bias:
        if c.mlp_bias:
            raise FormatError(
                "mlp_bias: expected none beside qkv_bias without wo_bias: transformers' Qwen2, which has that, "
                "has no other, found one"
            )
        # Qwen2Config has no field for head_dim, but its model takes the one that config.json gives it
        return {"architectures": ["Qwen2ForCausalLM"], "model_type": "qwen2", "use_sliding_window": False}
    if c.dim % c.n_heads:
        raise FormatError(
            f"n_heads: expected a divisor of dim = {c.dim}, as transformers' Llama wants for any head_dim, "
            f"found {c.n_heads}"
        )
    return {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "attention_bias": c.qkv_bias,
        "mlp_bias": c.mlp_bias,
    }


def _check_rope(config: ModelConfig) -> None:
    """What ModelConfig has a meaning for, and transformers another one or a division by zero."""
    scaling = config.rope_scaling
    if scaling.type == "dynamic":
        if config.max_seq_len != scaling.original_max_positions:
            raise FormatError(
                f"max_seq_len: expected {scaling.original_max_positions}, from where on transformers scales "
                f"dynamic RoPE (original_max_positions), found {config.max_seq_len}"
            )
        if config.head_dim == 2:
            raise FormatError("head_dim: expected at least 4, as transformers' dynamic RoPE scaling needs, found 2")


def _rope_scaling(config: ModelConfig) -> dict[str, Any] | None:
    scaling = config.rope_scaling
    if scaling.type == "none":
        return None
    described: dict[str, Any] = {"rope_type": scaling.type}
    for field in ROPE_SCALING_FIELDS[scaling.type]:
        # of dynamic scaling it is max_position_embeddings; transformers warns of a second one
        if (scaling.type, field) == ("dynamic", "original_max_positions"):
            continue
        value = getattr(scaling, field)
        # transformers warns of an attention_factor that is an integer
        described[_SCALING_NAMES.get(field, field)] = float(value) if field in _SCALING_FLOATS else value
    return described


# ---- the tensors ----


def _stored_blocks(checkpoint: Checkpoint, config: ModelConfig, tensor: _Tensor) -> Iterator[memoryview]:
    """One tensor's bytes in order, block by block."""
    weights = checkpoint.load(tensor.name)
    where = f"{checkpoint.where}: {tensor.name}"
    stored = _STORED[tensor.dtype][0]
    rows = _half_split(weights, config, tensor.name)
    step = max(1, _BLOCK // max(1, prod(rows.shape[1:])))
    for start in range(0, len(rows), step):
        block = np.ascontiguousarray(rows[start : start + step])
        if not np.isfinite(block).all():
            raise checkpoint.not_finite(tensor.name, weights)
        narrow = _narrowed(block, stored)
        if narrow is None:
            raise _not_exact(weights, stored, where)
        # the file is little-endian, whatever this machine is
        little = narrow.view(f"u{stored.itemsize}").astype(f"<u{stored.itemsize}", copy=False)
        yield little.reshape(-1).view(np.uint8).data


def _half_split(weights: Weights, config: ModelConfig, name: str) -> NDArray[np.float32]:
    """weights, where they are of q or k with rows 2i and 2i + 1 of each head as rows i and i + head_dim / 2.
    A view, whose first axis can be cut anywhere."""
    heads = {"wq": config.n_heads, "wk": config.n_kv_heads}.get(name.split(".")[-2])
    if heads is None:
        return weights
    return weights.reshape(heads, config.head_dim // 2, 2, *weights.shape[1:]).swapaxes(1, 2)


def _narrowed(block: NDArray[np.float32], stored: np.dtype[Any]) -> NDArray[Any] | None:
    """block as the stored type, None where that would change a bit of it."""
    with np.errstate(all="ignore"):
        narrow = block.astype(stored, copy=False)
        same = np.array_equal(narrow.astype(np.float32, copy=False).view(np.uint32), block.view(np.uint32))
    return narrow if same else None


def _not_exact(weights: Weights, stored: np.dtype[Any], where: str) -> WeightError:
    with np.errstate(all="ignore"):
        differs = weights.astype(stored).astype(np.float32) != weights
    index = tuple(int(i) for i in np.unravel_index(int(differs.argmax()), weights.shape))
    return WeightError(
        f"{where}: {list(index)}: expected a weight that {stored.name} holds exactly, as the source's type, "
        f"found {weights[index]}",
        index,
    )
