"""How far float32 rounding may move each logit: its standard deviation, by sending noise through the reference."""

from __future__ import annotations

import torch

from verify.oracle import llama, rope
from verify.oracle.rounding_noise import ROUNDING_VARIANCE, Noise
from verify.sources import Hyperparameters

DRAWS = 8
# Roundings are sent through the reference many times their size, so that the float32 passes' own do not count, and
# yet so small that the model stays linear in them.
_SCALE = 32.0

# Variances are float32: those below 2^-149 come out as 0, and with them the noise of logits below some 2^-50. No
# softmax, in float64 either, tells logits apart that differ by as little as this.
_LEAST_SIGMA = 2.0**-72

# Elements of the logits that are looked at together.
_BLOCK = 1 << 23


@torch.no_grad()
def logit_sigma(model: Hyperparameters, load: llama.Load, tokens: torch.Tensor, seed: int) -> torch.Tensor:
    """Standard deviation of each logit under float32 rounding noise: (windows, length, vocab_size), float32.

    Eight draws tell a logit's variance only roughly. The errors of one position's logits are nearly one random
    number, so the mean of the logit's own, its position's and its window's is taken: where a few roundings upstream
    decide, a logit's own variance is known from nothing else, and where they do not, many tell more than eight. A
    logit far larger than its neighbours (a token's own, where the classifier is tied) also carries the roundings of
    its own sum, dim / 3, and of the last norm's, dim / 12, whose variances are known without a draw.
    """
    windows = len(tokens)
    noise = Noise(windows, DRAWS, _SCALE, seed)
    turns = rope.turns(model, tokens.shape[1], torch.float32, noise)
    x = llama.embed(load, tokens, torch.float32).repeat(1 + DRAWS, 1, 1)
    for number in range(model.n_layers):
        x = llama.layer(model, load, number, x, turns, noise)
    h = llama.final_norm(model, load, x, noise)
    clean, moved = h[:windows], (h[windows:] - h[:windows].repeat(DRAWS, 1, 1)).div_(_SCALE)
    rows = load(llama.classifier(model))
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
    pooled.add_(size.square_(), alpha=ROUNDING_VARIANCE * model.dim * (1 / 3 + 1 / 12))
    return pooled.sqrt_().clamp_(min=_LEAST_SIGMA)
