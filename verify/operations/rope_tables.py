"""Compute RoPE's exact table of cosines and sines, and how far a table in float32 may be from it."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from verify.operations import bounds
from verify.oracle import rope
from verify.sources import Hyperparameters


@dataclass(frozen=True, eq=False)
class Table:
    """Holds the cosines or the sines: float64 (length, rotary_dim / 2)."""

    exact: torch.Tensor
    bound: torch.Tensor


def rope_tables(hyper: Hyperparameters, length: int) -> tuple[Table, Table]:
    """Compute cosines and sines of the first positions, times the attention factor of yarn or longrope."""
    positions = torch.arange(length, dtype=torch.float64).unsqueeze(1)
    frequency = rope.frequencies(hyper)
    angle = positions * frequency
    of_angle = bounds.rope_angle(frequency, positions, bounds.rope_frequency(frequency, hyper))
    scaling = hyper.rope_scaling
    factor = scaling.attention_factor if scaling.type in rope.WITH_ATTENTION_FACTOR else 1.0
    cosine, sine = factor * angle.cos(), factor * angle.sin()
    return (
        Table(cosine, bounds.rope_table(cosine, of_angle, factor)),
        Table(sine, bounds.rope_table(sine, of_angle, factor)),
    )
