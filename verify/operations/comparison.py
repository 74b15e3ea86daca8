"""Define Comparison: what an operation of an engine wrote, what it should have written, and how far apart they may
be."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator
from dataclasses import dataclass

import torch

from verify.operations import bounds

# Elements that are compared at a time: they fit into a core's cache, where each step takes a fraction of the time.
_BLOCK = 1 << 16


@dataclass(frozen=True, eq=False)
class Comparison:
    """Holds the result of one operation, or a part of it, beside the exact result.

    out, exact, bound: (windows, length, ...), with the last axis from `first` on. exact and bound are float64; out
    may be as it was recorded, float32. A bound of 0 requires equal numbers. inputs: only of a product, (windows,
    length, in_features). tensor: the name of the weights, if any.
    replay: `exact` is not the exact result but the engine's float32 result computed again.
    """

    operation: str
    out: torch.Tensor
    exact: torch.Tensor
    bound: torch.Tensor
    first: int = 0
    inputs: torch.Tensor | None = None
    tensor: str = ""
    replay: bool = False


def same(operation: str, out: torch.Tensor, exact: torch.Tensor, tensor: str = "") -> Comparison:
    """Compare a result for which float32 has one right answer in any order of computation."""
    bound = torch.zeros((), dtype=torch.float64).expand(out.shape)
    return Comparison(operation, out.double(), exact.double().view(out.shape), bound, tensor=tensor)


def replayed(operation: str, out: torch.Tensor, exact: torch.Tensor, first: int = 0, tensor: str = "") -> Comparison:
    """Compare a result that has one right answer in the engine's own order of float32 operations."""
    return dataclasses.replace(same(operation, out, exact, tensor), first=first, replay=True)


def rows_in_cache(tensor: torch.Tensor) -> Iterator[slice]:
    """Yield slices of the first axis whose elements, in float64, fit into a core's cache."""
    step = max(1, _BLOCK // max(1, tensor[0].numel()))
    for first in range(0, len(tensor), step):
        yield slice(first, first + step)


def worst_element(judged: Comparison) -> tuple[float, float, int]:
    """Return (largest error, largest error over bound, the flat index of the first element that has the latter).

    A NaN counts as infinite. The result is that of bounds.utilisation() on whole tensors.
    """
    windows, length = judged.out.shape[:2]
    of_position = judged.out[0, 0].numel()
    largest, worst, at = 0.0, -math.inf, 0
    for window in range(windows):
        for rows in rows_in_cache(judged.out[window]):
            out, exact, bound = (side[window, rows] for side in (judged.out, judged.exact, judged.bound))
            most, ratio = _ratio((out - exact).abs_(), bound)
            largest, index = max(largest, most), int(ratio.argmax())
            if (found := float(ratio.flatten()[index])) > worst:
                worst, at = found, (window * length + rows.start) * of_position + index
    return largest, worst, at


def _ratio(error: torch.Tensor, bound: torch.Tensor) -> tuple[float, torch.Tensor]:
    """Return the largest error and bounds.utilisation(error, bound), by fewer steps where all is ordinary."""
    most = float(error.max())  # a NaN, if there is one
    least, limit = (float(one) for one in bound.aminmax())
    if most == 0 and limit < math.inf:
        return 0.0, error
    if math.isfinite(most) and least > 0 and limit < math.inf:
        return most, error.div_(bound)
    return float(torch.nan_to_num(error, nan=math.inf).max()), bounds.utilisation(error, bound)
