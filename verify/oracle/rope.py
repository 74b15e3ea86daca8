"""RoPE's rotations: the frequencies that each kind of scaling makes of theta, as unit complex numbers.

In float64 throughout, from the formulas of the papers that named the scalings, as the models are run by others.
"""

from __future__ import annotations

import math

import torch

from verify.oracle.rounding_noise import Noise
from verify.sources import Hyperparameters, RopeScaling

# Of these the engines multiply each frequency by a ratio; dynamic scaling has none within the original length.
_WITH_RATIO = ("linear", "llama3", "yarn")


def turns(model: Hyperparameters, length: int, dtype: torch.dtype, noise: Noise) -> torch.Tensor:
    """attention_factor * exp(i * position * frequency): complex (length, head_dim / 2), with noise (windows, length,
    head_dim / 2)."""
    scaling = model.rope_scaling
    # the exact angle in float64 even where the rest is float32, as the model means it
    angle = torch.arange(length, dtype=torch.float64)[:, None] * frequencies(model)
    scaled = 1 if scaling.type in _WITH_RATIO else 0
    angle = noise.angle(angle, model.head_dim, model.rope_theta, roundings_of_ratio=scaled)
    turned = torch.polar(torch.ones_like(angle), angle)
    roundings = 1
    if scaling.type == "yarn":
        turned = noise.by_constant(turned * scaling.attention_factor, scaling.attention_factor)
        roundings = 2
    turned = torch.complex(noise.rounded(turned.real, roundings), noise.rounded(turned.imag, roundings))
    return turned.to(torch.complex128 if dtype == torch.float64 else torch.complex64)


def frequencies(model: Hyperparameters) -> torch.Tensor:
    """Radians by which each pair turns from one position to the next: float64 (head_dim / 2,)."""
    half, scaling = model.head_dim // 2, model.rope_scaling
    pairs = torch.arange(half, dtype=torch.float64)
    plain = torch.exp(-math.log(model.rope_theta) * pairs / half)
    match scaling.type:
        case "none" | "dynamic":
            kept = torch.ones_like(plain)
        case "linear":
            kept = torch.zeros_like(plain)
        case "llama3":
            # whole turns within the original length: many are kept, few are slowed, a blend in between
            rounds = plain * scaling.original_max_positions / (2 * math.pi)
            width = scaling.high_freq_factor - scaling.low_freq_factor
            kept = ((rounds - scaling.low_freq_factor) / width).clamp(0, 1)
        case "yarn":
            kept = 1 - _yarn_ramp(model, scaling, pairs)
        case _:
            raise ValueError(f"rope_scaling: {scaling.type}")
    return plain * kept + (plain / scaling.factor * (1 - kept) if scaling.factor else 0.0)


def _yarn_ramp(model: Hyperparameters, scaling: RopeScaling, pairs: torch.Tensor) -> torch.Tensor:
    """How far each pair is slowed: 0 where it turns beta_fast times or more, 1 where beta_slow times or fewer."""

    def pair_of(rounds: float) -> float:
        """The index, no whole number, of the pair that turns so often within the original length."""
        ratio = scaling.original_max_positions / (2 * math.pi * rounds)
        return model.head_dim * math.log(ratio) / (2 * math.log(model.rope_theta))

    first, last = pair_of(scaling.beta_fast), pair_of(scaling.beta_slow)
    if scaling.truncate:
        first, last = math.floor(first), math.ceil(last)
    # head_dim - 1, though there are only half as many pairs: what everyone's models are run with
    first, last = max(first, 0), min(last, model.head_dim - 1)
    # likewise, a step that is no step is a steep one
    width = last - first or 0.001
    return ((pairs - first) / width).clamp(0, 1)
