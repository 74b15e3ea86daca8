"""Check `execution`: the C reader's logits agree with PyTorch's in float64, on the same dequantized weights.

There is no fixed tolerance. Random noise of the size of float32 rounding runs through the reference, and the engine's
difference is measured in standard deviations of that noise in the same logits.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from verify.checks.digits import beside, counted
from verify.checks.result import CheckResult, skipped, within

Floats = NDArray[np.float64]
Logits = NDArray[np.floating[Any]]

# Logits that are compared at a time, in float64.
_BLOCK = 1 << 21

# Of 600 random healthy models (benchmarks/calibrate_execution.py) the worst reached 7.0; the median was 4.3.
LIMIT_SIGMAS = 10.0


@dataclass(frozen=True)
class WorstLogit:
    """Describes the worst logit of some windows.

    sigmas: its difference in standard deviations. where: its place and values. largest: the largest difference of any
    logit. logits: how many were compared.
    """

    sigmas: float
    where: dict[str, Any]
    largest: float
    logits: int


class Execution:
    """Gathers windows; verdict() judges the worst logit of them all, whose place is `where`."""

    def __init__(self) -> None:
        self._worst = -math.inf
        self.where: dict[str, Any] = {}
        self._largest = 0.0
        self._logits = 0

    def add(self, window: int, reference: Logits, sigma: Logits, engine: Logits) -> None:
        """Add one window: arrays (length, vocab_size). A NaN or infinity anywhere counts as infinitely wrong."""
        if not reference.shape == sigma.shape == engine.shape or not engine.size:
            raise ValueError(f"logits: {reference.shape}, {sigma.shape} and {engine.shape}")
        self._logits += engine.size
        step = max(1, _BLOCK // engine.shape[1])
        for first in range(0, len(engine), step):
            rows = slice(first, first + step)
            sides = (one[rows].astype(np.float64) for one in (reference, sigma, engine))
            self._add(window, first, *sides)

    def _add(self, window: int, first: int, reference: Floats, sigma: Floats, engine: Floats) -> None:
        """Add some positions, from `first` on."""
        error = np.abs(engine - reference)
        # where noise changes nothing (an all-zero model), the logits must be equal
        sigmas = np.divide(error, sigma, out=np.where(error == 0, 0.0, np.inf), where=sigma > 0)
        sigmas[~(np.isfinite(error) & np.isfinite(sigma))] = np.inf
        at = int(sigmas.argmax())
        self._largest = max(self._largest, float(np.nan_to_num(error, nan=np.inf).max()))
        if sigmas.flat[at] > self._worst:
            position, index = (int(i) for i in np.unravel_index(at, sigmas.shape))
            self._worst = float(sigmas.flat[at])
            self.where = {
                "window": window,
                "position": first + position,
                "index": index,
                "expected": float(reference[position, index]),
                "found": float(engine[position, index]),
            }

    @property
    def found(self) -> WorstLogit:
        """Return the worst logit so far, for merge()."""
        return WorstLogit(self._worst, self.where, self._largest, self._logits)

    def merge(self, found: WorstLogit) -> None:
        """Add what another instance found in later windows."""
        self._logits += found.logits
        self._largest = max(self._largest, found.largest)
        if found.sigmas > self._worst:
            self._worst, self.where = found.sigmas, found.where

    def verdict(self, engine: str, limit: float = LIMIT_SIGMAS) -> CheckResult:
        """Judge the worst logit. engine: names the engine. limit: in standard deviations."""
        if not self._logits:
            return skipped("execution", "statistical", "no logits were compared")
        sigmas = f"{self._worst:.2f}"
        if float(sigmas) == limit != self._worst:
            sigmas = beside(self._worst, limit)
        detail = (
            f"{counted(self._logits, 'logit')} of {engine} against PyTorch on the same weights: "
            f"largest difference {self._largest:.3g}, {sigmas} standard deviations of float32 rounding"
        )
        return within("execution", "statistical", self._worst, limit, detail, self.where)
