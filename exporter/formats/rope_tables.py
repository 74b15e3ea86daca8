"""RoPE's frequencies and tables: those that v0 carries, and those that old checkpoints saved as buffers."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from exporter.config import ModelConfig

TABLES = {"freqs_cos": np.cos, "freqs_sin": np.sin}


def plain_frequencies(head_dim: int, theta: float) -> NDArray[np.float64]:
    """theta^(-2i / head_dim), of each pair."""
    frequency: NDArray[np.float64] = theta ** (-np.arange(0, head_dim, 2, dtype=np.float64) / head_dim)
    return frequency


def rope_table(name: str, positions: range, head_dim: int, theta: float) -> NDArray[np.float32]:
    """Return cos or sin of position * theta^(-2i / head_dim): float32 (positions, head_dim / 2).

    name: a key of TABLES. The angle is computed in float64 and the result rounded once, so that every number is the
    nearest float32. (llama2.c computes the angle in float32, whose error grows with the position.)
    """
    angle = angles(positions, plain_frequencies(head_dim, theta))
    table: NDArray[np.float32] = TABLES[name](angle).astype(np.float32)
    return table


def angles(positions: range, frequencies: NDArray[np.float64]) -> NDArray[np.float64]:
    """position * frequency: (positions, pairs)."""
    return np.arange(positions.start, positions.stop, dtype=np.float64)[:, None] * frequencies


def frequencies_of(config: ModelConfig) -> NDArray[np.float64]:
    """Of each pair, scaled as config.rope_scaling says (its docstring has the rules); dynamic scaling changes none
    at the positions that a model has."""
    s = config.rope_scaling
    plain = plain_frequencies(config.rotated, config.rope_theta)
    if s.type == "linear":
        return plain / s.factor
    if s.type == "longrope":
        return plain / np.array(s.short_factors, dtype=np.float64)
    if s.type == "llama3":
        turns = s.original_max_positions * plain / (2 * math.pi)
        kept = np.clip((turns - s.low_freq_factor) / (s.high_freq_factor - s.low_freq_factor), 0, 1)
        return plain * (kept + (1 - kept) / s.factor)
    if s.type == "yarn":
        low, high = (_pair_that_turns(config, turns) for turns in (s.beta_fast, s.beta_slow))
        if s.truncate:
            low, high = math.floor(low), math.ceil(high)
        low, high = max(low, 0), min(high, config.rotated - 1)
        width = high - low or 0.001
        divided = np.clip((np.arange(config.rotated // 2) - low) / width, 0, 1)
        plain *= 1 - divided + divided / s.factor
    return plain


def _pair_that_turns(config: ModelConfig, turns: float) -> float:
    """The index, between pairs, of the one with so many turns in yarn's original_max_positions."""
    original = config.rope_scaling.original_max_positions
    return config.rotated * math.log(original / (turns * 2 * math.pi)) / (2 * math.log(config.rope_theta))
