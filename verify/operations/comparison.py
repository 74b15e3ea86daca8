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
    may be as it was recorded, float32, and exact may be the same tensor as out. A bound of 0 requires equal numbers.
    inputs: only of a product, (windows, length, in_features). tensor: the name of the weights, if any.
    slots: only of products with experts, the expert that each part of the last axis belongs to (windows, length,
    slots); tensor then has a field for the expert's number, and inputs an axis of slots before the last.
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
    slots: torch.Tensor | None = None

    def tensor_at(self, place: list[int]) -> str:
        """Name the weights that made an element of `out`."""
        return self.tensor if self.slots is None else self.tensor.format(expert=self._expert_at(place))

    def of_tensor_at(self, place: list[int]) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Return what the weights that made an element were multiplied by, and what they made: the difference from
        the exact result and the bound (tokens, rows), and inputs (tokens, in_features)."""
        assert self.inputs is not None
        residual = self.out - self.exact
        if self.slots is None:
            return residual.flatten(0, 1), self.bound.flatten(0, 1), self.inputs.flatten(0, 1)
        mine = self.slots == self._expert_at(place)
        by_slot = (side.unflatten(-1, (self.slots.shape[-1], -1)) for side in (residual, self.bound))
        residual, bound = (side[mine] for side in by_slot)
        return residual, bound, self.inputs[mine]

    def _expert_at(self, place: list[int]) -> int:
        assert self.slots is not None
        width = self.out.shape[-1] // self.slots.shape[-1]
        return int(self.slots[place[0], place[1], place[-1] // width])


def same(operation: str, out: torch.Tensor, exact: torch.Tensor, tensor: str = "") -> Comparison:
    """Compare a result for which float32 has one right answer in any order of computation.

    Where the numbers are equal, both sides are one tensor, of which no element need be compared again.
    """
    bound, exact = torch.zeros((), dtype=torch.float64).expand(out.shape), exact.view(out.shape)
    if out.dtype != exact.dtype:
        out, exact = out.double(), exact.double()
    if torch.equal(out, exact):
        return Comparison(operation, out, out, bound, tensor=tensor)
    return Comparison(operation, out.double(), exact.double(), bound, tensor=tensor)


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
    if judged.exact is judged.out and _finite(judged.out) and _finite(judged.bound):
        return 0.0, 0.0, 0
    windows, length = judged.out.shape[:2]
    of_position = judged.out[0, 0].numel()
    largest, worst, at = -math.inf, -math.inf, 0
    for window in range(windows):
        for rows in rows_in_cache(judged.out[window]):
            out, exact, bound = (side[window, rows] for side in (judged.out, judged.exact, judged.bound))
            most, ratio = _ratio((out - exact).abs_(), bound)
            largest, index = max(largest, most), int(ratio.argmax())
            if (found := float(ratio.flatten()[index])) > worst:
                worst, at = found, (window * length + rows.start) * of_position + index
    return largest, worst, at


def _finite(tensor: torch.Tensor) -> bool:
    """Return whether no number is NaN or infinite."""
    # along an expanded axis, all numbers are one
    once = tensor[tuple(slice(None if step else 1) for step in tensor.stride())]
    return all(math.isfinite(one) for one in once.aminmax())


def _ratio(error: torch.Tensor, bound: torch.Tensor) -> tuple[float, torch.Tensor]:
    """Return the largest error and bounds.utilisation(error, bound), by fewer steps where all is ordinary."""
    most = float(error.max())  # a NaN, if there is one
    least, limit = (float(one) for one in bound.aminmax())
    if most == 0 and limit < math.inf:
        return 0.0, error
    if math.isfinite(most) and least > 0 and limit < math.inf:
        return most, error.div_(bound)
    return float(torch.nan_to_num(error, nan=math.inf, posinf=math.inf).max()), bounds.utilisation(error, bound)
