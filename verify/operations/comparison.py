"""Define Comparison: what an operation of an engine wrote, what it should have written, and how far apart they may
be."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

import torch


@dataclass(frozen=True, eq=False)
class Comparison:
    """Holds the result of one operation, or a part of it, beside the exact result.

    out, exact, bound: float64 (windows, length, ...), with the last axis from `first` on; a bound of 0 requires equal
    numbers. inputs: only of a product, (windows, length, in_features). tensor: the name of the weights, if any.
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
