"""Check `execution`: logits of the C reader against PyTorch in float64, on the same dequantized weights.

No fixed tolerance: float32 rounding is sent through the reference as random noise, and the engine's
difference is measured in standard deviations of what that noise does to the same logits.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from verify.checks.result import CheckResult, skipped, within
from verify.oracle import llama, rope
from verify.oracle.noise import ROUNDING_VARIANCE, Noise
from verify.sources import Hyperparameters

DRAWS = 8
# Roundings are sent through the reference many times their size, so that the float32 passes' own do not count, and
# yet so small that the model stays linear in them.
_SCALE = 32.0
# Of 600 random healthy models (benchmarks/calibrate_execution.py) the worst reached 7.0, half of them less than 4.3.
LIMIT_SIGMAS = 10.0

# Variances are float32: those below 2^-149 come out as 0, and with them the noise of logits below some 2^-50. No
# softmax, in float64 either, tells logits apart that differ by as little as this.
_LEAST_SIGMA = 2.0**-72

# Elements of the logits that are looked at together.
_BLOCK = 1 << 23


@torch.no_grad()
def noise_sigma(model: Hyperparameters, load: llama.Load, tokens: torch.Tensor, seed: int) -> torch.Tensor:
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


@dataclass(frozen=True)
class WorstLogit:
    """Of some windows: the worst logit in standard deviations, where it is, the largest difference, and how many
    logits were compared."""

    sigmas: float
    where: dict[str, Any]
    largest: float
    logits: int


class Execution:
    """Gathers windows; verdict() judges the worst logit of them all, which stands at `where`."""

    def __init__(self) -> None:
        self._worst = -math.inf
        self.where: dict[str, Any] = {}
        self._largest = 0.0
        self._logits = 0

    def add(
        self, window: int, reference: NDArray[np.float64], sigma: NDArray[np.float64], engine: NDArray[np.float32]
    ) -> None:
        """Arrays (length, vocab_size) of one window. A NaN or infinity anywhere counts as infinitely wrong."""
        if not reference.shape == sigma.shape == engine.shape or not engine.size:
            raise ValueError(f"logits: {reference.shape}, {sigma.shape} and {engine.shape}")
        error = np.abs(engine - reference)
        # where noise moves nothing (an all-zero model), equality is all there is to ask for
        sigmas = np.divide(error, sigma, out=np.where(error == 0, 0.0, np.inf), where=sigma > 0)
        sigmas = np.where(np.isfinite(engine) & np.isfinite(reference) & np.isfinite(sigma), sigmas, np.inf)
        at = int(sigmas.argmax())
        self._logits += engine.size
        self._largest = max(self._largest, float(np.nan_to_num(error, nan=np.inf).max()))
        if sigmas.flat[at] > self._worst:
            position, index = (int(i) for i in np.unravel_index(at, sigmas.shape))
            self._worst = float(sigmas.flat[at])
            self.where = {
                "window": window,
                "position": position,
                "index": index,
                "expected": float(reference[position, index]),
                "found": float(engine[position, index]),
            }

    @property
    def found(self) -> WorstLogit:
        return WorstLogit(self._worst, self.where, self._largest, self._logits)

    def merge(self, found: WorstLogit) -> None:
        """What another one found of later windows."""
        self._logits += found.logits
        self._largest = max(self._largest, found.largest)
        if found.sigmas > self._worst:
            self._worst, self.where = found.sigmas, found.where

    def verdict(self, engine: str, limit: float = LIMIT_SIGMAS) -> CheckResult:
        """engine: whose logits these are, in words. limit: standard deviations."""
        if not self._logits:
            return skipped("execution", "statistical", "no logits were compared")
        detail = (
            f"{self._logits} logits of {engine} against PyTorch float64 on the same weights: "
            f"largest difference {self._largest:.3g}, {self._worst:.2f} standard deviations of float32 rounding"
        )
        return within("execution", "statistical", self._worst, limit, detail, self.where)
