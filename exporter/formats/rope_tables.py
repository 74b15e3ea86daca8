"""Compute the RoPE tables that v0 files carry."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

TABLES = {"freqs_cos": np.cos, "freqs_sin": np.sin}


def rope_table(name: str, positions: range, head_dim: int, theta: float) -> NDArray[np.float32]:
    """Return cos or sin of position * theta^(-2i / head_dim): float32 (positions, head_dim / 2).

    name: a key of TABLES. The angle is computed in float64 and the result rounded once, so that every number is the
    nearest float32. (llama2.c computes the angle in float32, whose error grows with the position.)
    """
    frequency = theta ** (-np.arange(0, head_dim, 2, dtype=np.float64) / head_dim)
    angle = np.arange(positions.start, positions.stop, dtype=np.float64)[:, None] * frequency
    table: NDArray[np.float32] = TABLES[name](angle).astype(np.float32)
    return table
