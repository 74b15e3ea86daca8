"""Measure how far float32 rounding may move each logit: its standard deviation under noise in the reference."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod

import torch

from verify.oracle import llama, multiplications, rope
from verify.oracle.rounding_noise import ROUNDING_VARIANCE, Noise
from verify.sources import Hyperparameters
from verify.system.pulse import NOISY, pulse

# Fewer than four draws miss positions where attention is nearly undecided: there a rare rounding moves logits far.
_LEAST_DRAWS, _MOST_DRAWS = 4, 8
# Products of a weight and an activation that the draws of one window may take beyond the least number.
_AFFORDED = 1 << 37

# Roundings are enlarged by this factor: large enough that the roundings of the float32 passes themselves do not
# matter, and small enough that the model stays linear in them.
_SCALE = 32.0

# Variances are float32: those below 2^-149 become 0, and so does the noise of logits below about 2^-50. No softmax,
# not even in float64, distinguishes logits that differ by as little as this.
_LEAST_SIGMA = 2.0**-72

# Elements of the logits that are computed at a time.
_BLOCK = 1 << 23


@dataclass(frozen=True)
class NoisyLogits:
    """Holds float32 logits without noise, and each one's standard deviation under it: (windows, length,
    vocab_size)."""

    clean: torch.Tensor
    sigma: torch.Tensor


def draws_of(hyper: Hyperparameters, length: int) -> int:
    """Return how many draws of noise a window of this length has: 4 to 8."""
    weights = sum(map(prod, hyper.shapes().values()))
    return max(_LEAST_DRAWS, min(_MOST_DRAWS, _AFFORDED // (weights * length)))


@torch.no_grad()
def noisy_logits(
    hyper: Hyperparameters, load: llama.Load, tokens: torch.Tensor, seed: int, draws: int | None = None
) -> NoisyLogits:
    """Compute logits of tokens (windows, length) in float32, and their standard deviation under rounding.

    Few draws estimate a logit's variance only roughly. The errors of one position's logits are nearly one random
    number, so the result mixes the logit's own draws with means over its position and over its window, spread over
    the vocabulary as all positions are on average. Where a few early roundings decide, only the logit's own draws
    show its variance; elsewhere many logits estimate it better. A variance from n draws is widened by (1 + 2/n)^2,
    because it may be too small by chance. A logit far larger than its neighbours (a token's own, with a tied
    classifier) also has the roundings of its own sum, dim / 3, and of the last norm, dim / 12, whose variances are
    known without a draw. draws: chosen by draws_of() if None.
    """
    windows, length = tokens.shape
    draws = draws or draws_of(hyper, length)
    noise = Noise(windows, draws, _SCALE, seed)
    rotations = rope.rotations(hyper, length, torch.float32, noise)
    x = llama.embed(load, tokens, torch.float32).repeat(1 + draws, 1, 1)
    for number in range(hyper.n_layers):
        x = llama.layer(hyper, load, number, x, rotations, noise)
    h = llama.final_norm(hyper, load, x, noise)
    clean, moved = h[:windows], (h[windows:] - h[:windows].repeat(draws, 1, 1)).div_(_SCALE)
    rows = load(llama.classifier(hyper))
    variance, logits = (torch.empty(windows, length, len(rows)) for _ in range(2))
    step = max(1, _BLOCK // (len(moved) * length))
    for first in range(0, len(rows), step):
        part = slice(first, first + step)
        w = rows[part].T
        y = clean @ w
        own = Noise.of_product(y, clean, w).mul_(ROUNDING_VARIANCE)
        variance[..., part] = (moved @ w).square_().unflatten(0, (draws, windows)).mean(0).add_(own)
        logits[..., part] = y
        pulse(NOISY * (1 + draws) * multiplications.of_head(hyper, windows, length) * len(w.T) / len(rows))
    widened = (1 + 2 / draws) ** 2
    pooled = _pooled(variance).mul_(widened)
    for window, of_window in enumerate(logits):
        pooled[window].addcmul_(of_window, of_window, value=ROUNDING_VARIANCE * hyper.dim * (1 / 3 + 1 / 12))
    return NoisyLogits(logits, pooled.sqrt_().clamp_(min=_LEAST_SIGMA))


def logit_sigma(hyper: Hyperparameters, load: llama.Load, tokens: torch.Tensor, seed: int) -> torch.Tensor:
    """Return only the standard deviations of noisy_logits()."""
    return noisy_logits(hyper, load, tokens, seed).sigma


def _pooled(variance: torch.Tensor) -> torch.Tensor:
    """Mix each logit's variance with its position's and its window's, in place."""
    position = variance.mean(dim=2, keepdim=True)
    window = position.mean(dim=1, keepdim=True)
    least = torch.finfo(variance.dtype).tiny
    # how much more than the mean of its position a logit of the vocabulary varies, on average
    spread = torch.stack([(one / at.clamp(min=least)).mean(0) for one, at in zip(variance, position, strict=True)])
    of_spread = spread.mean(0).add_(1).div_(2)
    for one, at, whole in zip(variance, position, window, strict=True):
        one.div_(2).addcmul_((at + whole).div_(2), of_spread).div_(1.5)
    return variance
