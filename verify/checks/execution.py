"""Check `execution`: logits of the C reader against PyTorch in float64, on the same dequantized weights.

No fixed tolerance: float32 rounding is sent through the reference as random noise, and the engine's
difference is measured in standard deviations of what that noise does to the same logits.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from verify.checks.result import CheckResult, skipped, within

# Of 600 random healthy models (benchmarks/calibrate_execution.py) the worst reached 7.0, half of them less than 4.3.
LIMIT_SIGMAS = 10.0


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
