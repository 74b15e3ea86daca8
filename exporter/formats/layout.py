"""Byte layouts of v0, v1, v1-fp32 and v2, as tables.

The C reader has the same layouts as code, on purpose: a test compares the two, offset by offset.

All integers and floats are little-endian; matrices are row-major (out_features, in_features).
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from math import gcd, prod
from typing import Literal

import numpy as np

from exporter.config import ModelConfig, tensor_shapes
from exporter.errors import FormatError
from exporter.switches import SWITCH_DEFAULTS, described

PartName = Literal["fp32", "fp16", "bf16", "int8", "scale"]

MAGIC = 0x616B3432
HEADER_BYTES = 256
# In a larger group, the sum of int8 products may overflow int32.
LARGEST_GROUP = (2**31 - 1) // (127 * 128)

_NORMS = ("layers.*.attention_norm.weight", "layers.*.ffn_norm.weight", "norm.weight")
_MATRICES = (
    "tok_embeddings.weight",
    "layers.*.attention.wq.weight",
    "layers.*.attention.wk.weight",
    "layers.*.attention.wv.weight",
    "layers.*.attention.wo.weight",
    "layers.*.feed_forward.w1.weight",
    "layers.*.feed_forward.w2.weight",
    "layers.*.feed_forward.w3.weight",
    "output.weight",
)
_V0_ORDER = (
    "tok_embeddings.weight",
    "layers.*.attention_norm.weight",
    "layers.*.attention.wq.weight",
    "layers.*.attention.wk.weight",
    "layers.*.attention.wv.weight",
    "layers.*.attention.wo.weight",
    "layers.*.ffn_norm.weight",
    "layers.*.feed_forward.w1.weight",
    "layers.*.feed_forward.w2.weight",
    "layers.*.feed_forward.w3.weight",
    "norm.weight",
    "freqs_cos",
    "freqs_sin",
    "output.weight",
)

# Payload of each format: tensors in file order, each with the parts that stand together. A star stands for every
# layer; a tied model omits output.weight.
_Row = tuple[str, tuple[PartName, ...]]
PAYLOADS: dict[str, tuple[_Row, ...]] = {
    "v0": tuple((name, ("fp32",)) for name in _V0_ORDER),
    "v1": (
        *((name, ("fp32",)) for name in _NORMS),
        *((name, ("int8",)) for name in _MATRICES),
        *((name, ("scale",)) for name in _MATRICES),
    ),
    "v1-fp32": tuple((name, ("fp32",)) for name in _NORMS + _MATRICES),
    "v2": (
        *((name, ("fp32",)) for name in _NORMS),
        *((name, ("int8", "scale")) for name in _MATRICES),
    ),
}
LEGACY_FORMATS = tuple(PAYLOADS)
QUANTIZED_FORMATS = ("v1", "v2")


@dataclass(frozen=True)
class Part:
    """One contiguous part of the payload: a tensor's values or its scales. offset: from the start of the file."""

    tensor: str
    part: PartName
    shape: tuple[int, ...]
    offset: int
    nbytes: int


@dataclass(frozen=True)
class Layout:
    """The place of every byte in a v0 to v2 file: the header, then the parts, without gap or overlap, up to size."""

    header: bytes
    parts: tuple[Part, ...]
    size: int


def check_expressible(config: ModelConfig, format_name: str) -> None:
    """Raise FormatError naming the first field of config that readers of a v0 to v2 format assume differently."""
    for field, found, implied in _assumptions(config):
        if found != implied:
            raise FormatError(
                f"{field}: expected {implied}, which every reader of {format_name} assumes, found {found}: "
                f"{format_name} has no field for it, v3 has"
            )


def _assumptions(config: ModelConfig) -> Iterator[tuple[str, object, object]]:
    """Yield (field, the model's value, the value that readers assume). The float fields are compared as float32."""
    for field, implied in (("rope_theta", 10000.0), ("norm_eps", 1e-5)):
        value = getattr(config, field)
        same = np.float32(value) == np.float32(implied)
        yield field, f"{implied:g}" if same else f"{value:.9g}", f"{implied:g}"
    yield "rope_scaling", config.rope_scaling.type, "none"
    yield "head_dim", f"{config.head_dim}", f"{config.dim / config.n_heads:g}"
    for field in ("qkv_bias", "wo_bias", "mlp_bias"):
        yield field, str(getattr(config, field)).lower(), "false"
    yield "activation", config.activation, "silu"
    for field, default in SWITCH_DEFAULTS.items():
        yield field, described(getattr(config, field)), described(default)


def check_group_size(requested: object) -> None:
    """Raise FormatError unless requested is a positive integer."""
    if isinstance(requested, bool) or not isinstance(requested, int) or requested < 1:
        raise FormatError(f"group_size: expected a positive integer, found {requested!r}")


def choose_group_size(widths: Mapping[str, int], requested: int, *, exact: bool) -> int:
    """Return the largest group size up to the requested one that divides every width: no group spans two rows.

    widths: in_features by name. Raises FormatError where it is smaller than requested and exact is set.
    """
    check_group_size(requested)
    common = gcd(*widths.values())
    chosen = next(g for g in range(min(requested, common, LARGEST_GROUP), 0, -1) if common % g == 0)
    if exact and chosen != requested:
        of_all = " and of ".join(f"{name} = {width}" for name, width in widths.items())
        raise FormatError(
            f"group_size: expected a divisor of {of_all}, found {requested}; the largest that fits is {chosen}"
        )
    return chosen


def lay_out(config: ModelConfig, format_name: str, group_size: int) -> Layout:
    """Return header and parts of a v0 to v2 file. group_size: ignored by v0 and v1-fp32. Raises FormatError."""
    check_expressible(config, format_name)
    shapes = tensor_shapes(config)
    shapes["freqs_cos"] = shapes["freqs_sin"] = (config.max_seq_len, config.head_dim // 2)
    header = _header(config, format_name, group_size)
    parts: list[Part] = []
    at = len(header)
    for pattern, part_names in PAYLOADS[format_name]:
        for name in _names(pattern, config):
            for part in part_names:
                shape = shapes[name]
                if part == "scale":
                    shape = (*shape[:-1], shape[-1] // group_size)
                nbytes = prod(shape) * (1 if part == "int8" else 4)
                parts.append(Part(name, part, shape, at, nbytes))
                at += nbytes
    return Layout(header, tuple(parts), at)


def _names(pattern: str, config: ModelConfig) -> list[str]:
    if pattern == "output.weight" and config.tied:
        return []
    if "*" in pattern:
        return [pattern.replace("*", str(layer)) for layer in range(config.n_layers)]
    return [pattern]


def _header(config: ModelConfig, format_name: str, group_size: int) -> bytes:
    c = config
    vocab_size = -c.vocab_size if format_name == "v0" and not c.tied else c.vocab_size
    shape = (c.dim, c.hidden_dim, c.n_layers, c.n_heads, c.n_kv_heads, vocab_size, c.max_seq_len)
    if format_name == "v0":
        return struct.pack("<7i", *shape)
    version = 2 if format_name == "v2" else 1
    group = group_size if format_name in QUANTIZED_FORMATS else 0
    return struct.pack("<Ii7iBi", MAGIC, version, *shape, c.tied, group).ljust(HEADER_BYTES, b"\0")
