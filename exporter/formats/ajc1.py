"""The byte layout of qwen3.c's files, "ajc1" after their magic, and what their one reader takes for granted.

The header has no field for theta, epsilon, RoPE scaling, activation or norms: qwen3.c computes Qwen 3 with constants
of its own. All matrices are Q8_0. Rows of queries and keys stand as Hugging Face has them: RoPE's pairs in halves.
"""

from __future__ import annotations

import struct

from exporter.checkpoint import Weights
from exporter.config import ModelConfig
from exporter.errors import FormatError
from exporter.formats.layout import (
    HEADER_BYTES,
    LARGEST_GROUP,
    MATRICES,
    NORMS,
    Layout,
    Row,
    assumptions,
    check_group_size,
    place,
    refuse_unlike,
)
from exporter.rope_pairs import in_halves

MAGIC = 0x616A6331
VERSION = 1

_HEAD_NORMS = ("layers.*.attention.q_norm.weight", "layers.*.attention.k_norm.weight")
_PAYLOAD: tuple[Row, ...] = (
    *((name, ("fp32",)) for name in NORMS + _HEAD_NORMS),
    *((name, ("int8", "scale")) for name in MATRICES),
)


def check_expressible(config: ModelConfig) -> None:
    """Raise FormatError naming the first field of config that qwen3.c computes differently."""
    refuse_unlike("ajc1", assumptions(config, 1e6, 1e-6, {"qk_norm": "head"}))
    if config.q_dim < config.dim:
        raise FormatError(
            f"n_heads * head_dim: expected at least dim = {config.dim}, which every reader of ajc1 assumes, "
            f"found {config.q_dim}: give --format v3"
        )


def choose_group_size(config: ModelConfig, requested: int, *, exact: bool) -> int:
    """Return the requested group size, halved until it divides every row: no group spans two of them.

    Raises FormatError where it is smaller than requested and exact is set.
    """
    check_group_size(requested)
    widths = {"dim": config.dim, "n_heads * head_dim": config.q_dim, "hidden_dim": config.hidden_dim}
    chosen = requested
    while chosen > LARGEST_GROUP or any(width % chosen for width in widths.values()):
        chosen //= 2
    if exact and chosen != requested:
        of_all = " and of ".join(f"{name} = {width}" for name, width in widths.items())
        raise FormatError(
            f"group_size: expected a divisor of {of_all}, found {requested}; halved until it fits, it is {chosen}"
        )
    return chosen


def lay_out(config: ModelConfig, group_size: int) -> Layout:
    """Return header and parts of a file. Raises FormatError."""
    check_expressible(config)
    c = config
    counts = (c.dim, c.hidden_dim, c.n_layers, c.n_heads, c.n_kv_heads, c.vocab_size, c.max_seq_len, c.head_dim)
    header = struct.pack("<Ii10i", MAGIC, VERSION, *counts, c.tied, group_size).ljust(HEADER_BYTES, b"\0")
    return place(header, _PAYLOAD, config, group_size)


def arranged(name: str, weights: Weights, config: ModelConfig) -> Weights:
    """Return a tensor with its rows in the file's order."""
    return in_halves(name, weights, config).reshape(weights.shape)
