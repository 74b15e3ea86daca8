"""Compute RoPE's rotations as unit complex numbers, from the frequencies that theta and each scaling give.

Everything is float64 and follows the papers that introduced the scalings, as other programs run the models.
"""

from __future__ import annotations

import dataclasses
import math

import torch

from verify.oracle.rounding_noise import Noise
from verify.sources import Hyperparameters, RopeScaling

# Scalings for which engines multiply each frequency by a ratio. Dynamic scaling has no ratio within the original
# length.
_WITH_RATIO = ("linear", "llama3", "yarn", "longrope")
# Scalings with an attention factor, by which sines and cosines are multiplied.
WITH_ATTENTION_FACTOR = ("yarn", "longrope")


def rotations(hyper: Hyperparameters, length: int, dtype: torch.dtype, noise: Noise) -> dict[str, torch.Tensor]:
    """Compute the rotation of each RoPE that the model has, by the names of LayerKind.rope."""
    kinds = dict.fromkeys(["first", *(layer.rope for layer in hyper.layers if layer.rope != "none")])
    return {kind: rotation(of_kind(hyper, kind), length, dtype, noise) for kind in kinds}


def of_kind(hyper: Hyperparameters, kind: str) -> Hyperparameters:
    """Return hyper-parameters whose first RoPE is the one of this kind. The second RoPE is never scaled."""
    if kind == "first":
        return hyper
    return dataclasses.replace(hyper, rope_theta=hyper.local_theta, rope_scaling=RopeScaling())


def rotation(hyper: Hyperparameters, length: int, dtype: torch.dtype, noise: Noise) -> torch.Tensor:
    """Compute attention_factor * exp(i * position * frequency) of the first RoPE: complex (length, rotary_dim / 2).

    With noise the result is (windows, length, rotary_dim / 2).
    """
    scaling = hyper.rope_scaling
    # the exact angle, in float64 even if the rest is float32
    angle = torch.arange(length, dtype=torch.float64)[:, None] * frequencies(hyper)
    scaled = 1 if scaling.type in _WITH_RATIO else 0
    angle = noise.angle(angle, hyper.rotated, hyper.rope_theta, scaled, _growth(hyper))
    rotated = torch.polar(torch.ones_like(angle), angle)
    roundings = 1
    if scaling.type in WITH_ATTENTION_FACTOR:
        rotated = noise.by_constant(rotated * scaling.attention_factor, scaling.attention_factor)
        roundings = 2
    rotated = torch.complex(noise.rounded(rotated.real, roundings), noise.rounded(rotated.imag, roundings))
    return rotated.to(torch.complex128 if dtype == torch.float64 else torch.complex64)


def _growth(hyper: Hyperparameters) -> torch.Tensor | None:
    """Return how many times larger the relative error of a frequency becomes in llama3's ratio: (rotary_dim / 2,).

    Within the band between both factors, the ratio is a linear function of the pair's own frequency. An engine that
    computes it in float32 subtracts two numbers of one size there, which leaves their errors.
    """
    scaling = hyper.rope_scaling
    if scaling.type != "llama3":
        return None
    periods, kept = _llama3_blend(scaling, _plain(hyper))
    ratio = kept + (1 - kept) / scaling.factor
    steepness = (1 - 1 / scaling.factor) * periods / (scaling.high_freq_factor - scaling.low_freq_factor)
    return torch.where((kept > 0) & (kept < 1), steepness / ratio, 0.0)


def _plain(hyper: Hyperparameters) -> torch.Tensor:
    """Return the frequencies without scaling: float64 (rotary_dim / 2,)."""
    half = hyper.rotated // 2
    return torch.exp(-math.log(hyper.rope_theta) * torch.arange(half, dtype=torch.float64) / half)


def _llama3_blend(scaling: RopeScaling, plain: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the periods of each pair within the original length, and the share of its frequency that is kept.

    Frequencies with many periods are kept, those with few are slowed, and others are blended.
    """
    periods = plain * scaling.original_max_positions / (2 * math.pi)
    width = scaling.high_freq_factor - scaling.low_freq_factor
    return periods, ((periods - scaling.low_freq_factor) / width).clamp(0, 1)


def frequencies(hyper: Hyperparameters) -> torch.Tensor:
    """Return the radians by which each pair rotates from one position to the next: float64 (rotary_dim / 2,)."""
    scaling, plain = hyper.rope_scaling, _plain(hyper)
    match scaling.type:
        case "none" | "dynamic":
            kept = torch.ones_like(plain)
        case "linear":
            kept = torch.zeros_like(plain)
        case "llama3":
            _, kept = _llama3_blend(scaling, plain)
        case "longrope":
            return plain / torch.tensor(scaling.short_factors, dtype=torch.float64)
        case "yarn":
            kept = 1 - _yarn_ramp(hyper, scaling, torch.arange(len(plain), dtype=torch.float64))
        case _:
            raise ValueError(f"rope_scaling: {scaling.type}")
    return plain * kept + (plain / scaling.factor * (1 - kept) if scaling.factor else 0.0)


def _yarn_ramp(hyper: Hyperparameters, scaling: RopeScaling, pairs: torch.Tensor) -> torch.Tensor:
    """Return how much each pair is slowed: from 0 at beta_fast periods or more to 1 at beta_slow periods or fewer."""

    def pair_of(periods: float) -> float:
        """Return the fractional index of the pair with so many periods within the original length."""
        ratio = scaling.original_max_positions / (2 * math.pi * periods)
        return hyper.rotated * math.log(ratio) / (2 * math.log(hyper.rope_theta))

    first, last = pair_of(scaling.beta_fast), pair_of(scaling.beta_slow)
    if scaling.truncate:
        first, last = math.floor(first), math.ceil(last)
    # one less than the elements, although there are only half as many pairs: transformers computes it so
    first, last = max(first, 0), min(last, hyper.rotated - 1)
    # transformers also gives an empty ramp this width
    width = last - first or 0.001
    return ((pairs - first) / width).clamp(0, 1)
