"""Phi 3's longrope: a factor for each pair in short sequences, and other factors in long ones.

transformers takes the long factors for a whole sequence that goes beyond original_max_position_embeddings, which an
engine with a KV cache cannot follow; so only the short ones are computed with.
"""

from __future__ import annotations

import math
import struct

from exporter.errors import CheckpointError
from exporter.rope_scaling import RopeScaling
from exporter.strict_json import Json, number, shown

KEYS = ("short_factor", "long_factor", "original_max_position_embeddings", "factor", "attention_factor")


def read_longrope(rope: Json, original: int, positions: int, pairs: int) -> RopeScaling:
    """Read the parameters as transformers computes with them. positions: max_position_embeddings.

    pairs: how many each head rotates. Raises CheckpointError.
    """
    short, long = (_factors(rope, key, pairs) for key in ("short_factor", "long_factor"))
    said = rope.get("attention_factor")
    return RopeScaling(
        "longrope",
        original_max_positions=original,
        attention_factor=_attention(rope, original, positions) if said is None else number("attention_factor", said),
        short_factors=tuple(_single(f"short_factor: {i}", value) for i, value in enumerate(short)),
        long_factors=tuple(long),
    )


def _factors(rope: Json, key: str, pairs: int) -> list[float]:
    values = rope[key]
    if not isinstance(values, list) or len(values) != pairs:
        found = len(values) if isinstance(values, list) else shown(values)
        raise CheckpointError(f"{key}: expected a list of {pairs} numbers, one for each rotated pair, found {found}")
    return [number(f"{key}: {i}", value) for i, value in enumerate(values)]


def _single(where: str, value: float) -> float:
    """Round to float32, as transformers does."""
    try:
        (single,) = struct.unpack("<f", struct.pack("<f", value))
    except OverflowError as error:
        raise CheckpointError(f"{where}: expected a number that float32 holds, found {value:g}") from error
    return float(single)


def _attention(rope: Json, original: int, positions: int) -> float:
    """Return the factor of sines and cosines where config.json does not say it."""
    said = rope.get("factor")
    factor = positions / original if said is None else number("factor", said)
    if factor <= 1:
        return 1.0
    if original == 1:
        raise CheckpointError(
            "original_max_position_embeddings: expected more than 1, whose logarithm transformers divides by, found 1"
        )
    return math.sqrt(1 + math.log(factor) / math.log(original))
