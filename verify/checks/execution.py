"""Check `execution`: logits of the C reader against PyTorch in float64, on the same dequantized weights.

No fixed tolerance: float32 rounding is sent through the reference as random noise, and the engine's
difference is measured in standard deviations of what that noise does to the same logits.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from verify.checks.result import CheckResult, skipped, within
from verify.oracle import llama
from verify.oracle.noise import ROUNDING_VARIANCE, Noise
from verify.sources import Hyperparameters

DRAWS = 8
# Of 900 random healthy models (benchmarks/calibrate_execution.py) the worst reached 14: eight draws tell a
# heavy-tailed variance roughly. The mistake that it seeds, an epsilon of 1e-6 for 1e-5, lies at 38 or more.
LIMIT_SIGMAS = 25.0


def noise_sigma(
    model: Hyperparameters, load: llama.Load, tokens: torch.Tensor, clean: torch.Tensor, seed: int
) -> torch.Tensor:
    """Standard deviation of each logit under float32 rounding noise: (windows, length, vocab_size), float64.

    The errors of one position's logits are nearly one random number, so eight draws tell its variance only
    roughly: it is averaged with the whole window's, and a token's own share is taken over all positions. A logit
    far larger than its neighbours (a token's own, where the classifier is tied) also carries the roundings of its
    own sum, dim / 3, and of the last norm's, dim / 12, whose variances are known without a draw.
    """
    total = torch.zeros_like(clean)
    for draw in range(DRAWS):
        noisy = llama.logits(model, load, tokens, torch.float64, Noise(1.0, seed=seed * DRAWS + draw))
        total += (noisy - clean).square_()
    variance = total / DRAWS
    window = variance.mean(dim=(1, 2), keepdim=True)
    position = variance.mean(dim=2, keepdim=True)
    token = variance.mean(dim=1, keepdim=True)
    # 0 / 0 where noise moves nothing at all
    pooled = (position + window) / 2 * (1 + torch.nan_to_num(token / window, nan=1.0)) / 2
    return torch.sqrt(pooled + ROUNDING_VARIANCE * model.dim * (1 / 3 + 1 / 12) * clean.square())


class Execution:
    """Gathers windows; verdict() judges the worst logit of them all."""

    def __init__(self) -> None:
        self._worst = -math.inf
        self._where: dict[str, Any] = {}
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
            self._where = {
                "window": window,
                "position": position,
                "index": index,
                "expected": float(reference[position, index]),
                "found": float(engine[position, index]),
            }

    def verdict(self, arithmetic: str) -> CheckResult:
        if not self._logits:
            return skipped("execution", "statistical", "no logits were compared")
        detail = (
            f"{self._logits} logits of the C reader ({arithmetic}) against PyTorch float64 on the same weights: "
            f"largest difference {self._largest:.3g}, {self._worst:.2f} standard deviations of float32 rounding"
        )
        return within("execution", "statistical", self._worst, LIMIT_SIGMAS, detail, self._where)
