"""Check `execution`: the C reader's logits agree with PyTorch's in float64, on the same dequantized weights.

There is no fixed tolerance. Random noise of the size of float32 rounding runs through the reference, and the engine's
difference is measured in standard deviations of that noise in the same logits.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from verify.checks.digits import beside, counted
from verify.checks.logit_blocks import Floats, Logits, blocks
from verify.checks.result import CheckResult, skipped, within

# Of 200 windows of a healthy SmolLM2-135M (benchmarks/calibrate_execution.py) the worst reached 7.7; the median was
# 4.4.
LIMIT_SIGMAS = 10.0
# A few draws of noise suffice to pass logits this near, and none are needed to fail logits this far.
_CLEARLY_NEAR, _CLEARLY_FAR = 8.0, 1000.0


class Sigma(Protocol):
    """The standard deviations that rounding gives to the logits of a window (length, vocab_size)."""

    @property
    def shape(self) -> tuple[int, ...]: ...

    def __getitem__(self, positions: slice, /) -> NDArray[np.float32]: ...

    def refine(self, position: int, /) -> bool:
        """Measure the positions up to this one by more draws of noise; False if there are enough."""
        ...


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

    def add(self, window: int, reference: Logits, sigma: Sigma | Logits, engine: Logits) -> None:
        """Add one window: arrays (length, vocab_size). A NaN or infinity anywhere counts as infinitely wrong."""
        if not reference.shape == sigma.shape == engine.shape or not engine.size:
            raise ValueError(f"logits: {reference.shape}, {sigma.shape} and {engine.shape}")
        self._logits += engine.size
        for rows in blocks(*engine.shape):
            sides = (one[rows].astype(np.float64) for one in (reference, sigma, engine))
            self._add(window, rows.start, *sides)

    def _add(self, window: int, first: int, reference: Floats, sigma: Floats, engine: Floats) -> None:
        """Add some positions, from `first` on. sigma: overwritten."""
        error = engine - reference
        np.abs(error, out=error)
        # a NaN is the largest of any numbers
        largest, least, most = float(error.max()), float(sigma.min()), float(sigma.max())
        if math.isfinite(largest) and least > 0 and math.isfinite(most):
            sigmas = np.divide(error, sigma, out=sigma)
        else:
            # where noise changes nothing (an all-zero model), the logits must be equal
            sigmas = np.divide(error, sigma, out=np.where(error == 0, 0.0, np.inf), where=sigma > 0)
            sigmas[~(np.isfinite(error) & np.isfinite(sigma))] = np.inf
            largest = float(np.nan_to_num(error, nan=np.inf, posinf=np.inf).max())
        at = int(sigmas.argmax())
        self._largest = max(self._largest, largest)
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


def worst_logit(window: int, reference: Logits, sigma: Sigma, engine: Logits, limit: float) -> WorstLogit:
    """Return the worst logit of a window, by as many draws of noise as it takes to tell it from `limit`.

    sigma: of all positions, or of the first ones, which alone are then judged.

    One draw may be far too small at a position, and never too large at all of them, so what is clearly near by it is
    near.
    """
    judged_positions = sigma.shape[0]
    if not judged_positions:
        return Execution().found
    reference, engine = reference[:judged_positions], engine[:judged_positions]
    enough = _CLEARLY_NEAR / LIMIT_SIGMAS * limit
    while True:
        judged = Execution()
        judged.add(window, reference, sigma, engine)
        found = judged.found
        if not enough < found.sigmas < _CLEARLY_FAR * limit or not sigma.refine(found.where["position"]):
            return found
