"""The RoPE tables that v0 carries."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def rope_tables(max_seq_len: int, head_dim: int, theta: float) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """cos and sin of position * theta^(-2i / head_dim): float32 (max_seq_len, head_dim / 2).

    Computed in float64 and rounded once, so that the table is as close as float32 allows at every position.
    (llama2.c computes the angle in float32, whose error grows with the position.)
    """
    frequency = theta ** (-np.arange(0, head_dim, 2, dtype=np.float64) / head_dim)
    angle = np.arange(max_seq_len, dtype=np.float64)[:, None] * frequency
    return np.cos(angle).astype(np.float32), np.sin(angle).astype(np.float32)
