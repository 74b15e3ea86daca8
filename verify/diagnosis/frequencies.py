"""List the frequencies that programs give RoPE by mistake, for a file's tables and for engines."""

from __future__ import annotations

import math

import torch

from verify.oracle import rope
from verify.sources import Hyperparameters


def with_exponents(hyper: Hyperparameters, other: torch.Tensor) -> torch.Tensor:
    """Return frequencies for other exponents of 1 / theta."""
    half = hyper.rotated // 2
    own = torch.arange(half, dtype=torch.float64) / half
    return rope.frequencies(hyper) * hyper.rope_theta ** (own - other)


def mistaken_frequencies(hyper: Hyperparameters) -> dict[str, torch.Tensor]:
    """Return the frequencies, (rotary_dim / 2,) in float64, by what a program computed."""
    right, half = rope.frequencies(hyper), hyper.rotated // 2
    if half < 2:
        return {}

    def exponents(other: torch.Tensor) -> torch.Tensor:
        return with_exponents(hyper, other)

    pairs = torch.arange(half, dtype=torch.float64)
    partial = {"with 2i / head_dim in the exponent instead of 2i / rotary_dim": exponents(2 * pairs / hyper.head_dim)}
    return {
        **(partial if hyper.rotary_dim else {}),
        "with 2i / dim in the exponent instead of 2i / head_dim": exponents(2 * pairs / hyper.dim),
        "with 4i / head_dim in the exponent instead of 2i / head_dim": exponents(2 * pairs / half),
        "one pair too far": exponents((pairs + 1) / half),
        "up to an exponent of 1, from evenly spaced numbers": exponents(pairs / (half - 1)),
        "in reverse order": right.flip(0),
        "rounded to bf16": right.bfloat16().double(),
        "rounded to fp16": right.half().double(),
        "with exponents from 1 down": exponents(1 - pairs / half),
        "with half of the exponent": exponents(pairs / half / 2),
        "with i / head_dim in the exponent instead of 2i / head_dim": exponents(pairs / (2 * half)),
        "with 2 (i + 1/2) / head_dim in the exponent": exponents((pairs + 0.5) / half),
        "one pair too early": exponents((pairs - 1) / half),
        "all equal to 1": torch.ones_like(right),
        "times 2 pi": right * 2 * math.pi,
        "divided by 2 pi": right / (2 * math.pi),
        "as theta ** exponent instead of its inverse": 1 / right,
    }
