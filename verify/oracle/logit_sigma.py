"""Measure how far float32 rounding may move each logit: its standard deviation under noise in the reference."""

from __future__ import annotations

import torch

from verify.oracle import llama, rope
from verify.oracle.rounding_noise import ROUNDING_VARIANCE, Noise
from verify.sources import Hyperparameters

DRAWS = 8
# Roundings are enlarged by this factor: large enough that the roundings of the float32 passes themselves do not
# matter, and small enough that the model stays linear in them.
_SCALE = 32.0

# Variances are float32: those below 2^-149 become 0, and so does the noise of logits below about 2^-50. No softmax,
# not even in float64, distinguishes logits that differ by as little as this.
_LEAST_SIGMA = 2.0**-72

# Elements of the logits that are computed at a time.
_BLOCK = 1 << 23


@torch.no_grad()
def logit_sigma(hyper: Hyperparameters, load: llama.Load, tokens: torch.Tensor, seed: int) -> torch.Tensor:
    """Measure each logit's standard deviation under float32 rounding: (windows, length, vocab_size), float32.

    Eight draws estimate a logit's variance only roughly. The errors of one position's logits are nearly one random
    number, so the result is the mean of the logit's own variance, its position's and its window's. Where a few early
    roundings decide, only the logit's own draws show its variance; elsewhere many logits estimate it better than
    eight draws. A logit far larger than its neighbours (a token's own, with a tied classifier) also has the roundings
    of its own sum, dim / 3, and of the last norm, dim / 12, whose variances are known without a draw.
    """
    windows = len(tokens)
    noise = Noise(windows, DRAWS, _SCALE, seed)
    rotations = rope.rotations(hyper, tokens.shape[1], torch.float32, noise)
    x = llama.embed(load, tokens, torch.float32).repeat(1 + DRAWS, 1, 1)
    for number in range(hyper.n_layers):
        x = llama.layer(hyper, load, number, x, rotations, noise)
    h = llama.final_norm(hyper, load, x, noise)
    clean, moved = h[:windows], (h[windows:] - h[:windows].repeat(DRAWS, 1, 1)).div_(_SCALE)
    rows = load(llama.classifier(hyper))
    variance, size = (torch.empty(*tokens.shape, len(rows)) for _ in range(2))
    step = max(1, _BLOCK // (len(moved) * tokens.shape[1]))
    for first in range(0, len(rows), step):
        part = slice(first, first + step)
        w = rows[part].T
        y = clean @ w
        own = Noise.of_product(y, clean, w).mul_(ROUNDING_VARIANCE)
        variance[..., part] = (moved @ w).square_().unflatten(0, (DRAWS, windows)).mean(0).add_(own)
        size[..., part] = y
    position = variance.mean(dim=2, keepdim=True)
    window = position.mean(dim=1, keepdim=True)
    pooled = variance.add_((position + window).div_(2)).div_(2)
    pooled.add_(size.square_(), alpha=ROUNDING_VARIANCE * hyper.dim * (1 / 3 + 1 / 12))
    return pooled.sqrt_().clamp_(min=_LEAST_SIGMA)
