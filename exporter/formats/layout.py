"""Byte layouts of v0, v1, v1-fp32 and v2, as tables.

The C reader has the same layouts as code, on purpose: a test compares the two, offset by offset.

All integers and floats are little-endian; matrices are row-major (out_features, in_features).
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from math import gcd, prod
from typing import Literal

import numpy as np

from exporter.config import SWITCH_DEFAULTS, ModelConfig, tensor_shapes
from exporter.errors import FormatError
from exporter.switches import described

PartName = Literal["fp32", "fp16", "bf16", "int8", "scale"]

MAGIC = 0x616B3432
HEADER_BYTES = 256
# In a larger group, the sum of int8 products may overflow int32.
LARGEST_GROUP = (2**31 - 1) // (127 * 128)

NORMS = ("layers.*.attention_norm.weight", "layers.*.ffn_norm.weight", "norm.weight")
MATRICES = (
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
Row = tuple[str, tuple[PartName, ...]]
PAYLOADS: dict[str, tuple[Row, ...]] = {
    "v0": tuple((name, ("fp32",)) for name in _V0_ORDER),
    "v1": (
        *((name, ("fp32",)) for name in NORMS),
        *((name, ("int8",)) for name in MATRICES),
        *((name, ("scale",)) for name in MATRICES),
    ),
    "v1-fp32": tuple((name, ("fp32",)) for name in NORMS + MATRICES),
    "v2": (
        *((name, ("fp32",)) for name in NORMS),
        *((name, ("int8", "scale")) for name in MATRICES),
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
    """The place of every byte in a v0 to v2 or ajc1 file: the header, then the parts up to size, without gap or
    overlap."""

    header: bytes
    parts: tuple[Part, ...]
    size: int


def check_expressible(config: ModelConfig, format_name: str) -> None:
    """Raise FormatError naming the first field of config that readers of a v0 to v2 format assume differently."""
    refuse_unlike(format_name, assumptions(config, 10000.0, 1e-5, {"head_dim": f"{config.dim / config.n_heads:g}"}))


def refuse_unlike(format_name: str, assumed: Iterable[tuple[str, object, object]]) -> None:
    """Raise FormatError for the first of (field, the model's value, the value that readers assume) that differs."""
    for field, found, implied in assumed:
        if found != implied:
            raise FormatError(
                f"{field}: expected {implied}, which every reader of {format_name} assumes, found {found}: "
                f"{format_name} has no field for it, v3 has"
            )


def assumptions(
    config: ModelConfig, theta: float, eps: float, others: dict[str, str]
) -> Iterator[tuple[str, object, object]]:
    """Yield (field, the model's value, the value that readers assume) in words.

    theta and eps are compared as float32. others: fields that readers assume to be other than Llama's.
    """
    for field, implied in (("rope_theta", theta), ("norm_eps", eps)):
        value = getattr(config, field)
        same = np.float32(value) == np.float32(implied)
        yield field, f"{implied:.9g}" if same else f"{value:.9g}", f"{implied:.9g}"
    plain = {"rope_scaling": "none", "qkv_bias": "false", "wo_bias": "false", "mlp_bias": "false"}
    switches = {field: described(default) for field, default in SWITCH_DEFAULTS.items()}
    for field, words in (plain | {"activation": "silu"} | switches | others).items():
        value = config.rope_scaling.type if field == "rope_scaling" else getattr(config, field)
        yield field, described(value), words


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
    return place(_header(config, format_name, group_size), PAYLOADS[format_name], config, group_size)


def place(header: bytes, payload: Iterable[Row], config: ModelConfig, group_size: int) -> Layout:
    """Return a header and, one behind the other, the parts of a payload's rows."""
    shapes = tensor_shapes(config)
    shapes["freqs_cos"] = shapes["freqs_sin"] = (config.max_seq_len, config.head_dim // 2)
    parts: list[Part] = []
    at = len(header)
    for pattern, part_names in payload:
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
