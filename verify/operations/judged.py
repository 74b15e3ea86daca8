"""What one operation of an engine wrote, what it should have written, and how far apart the two may be."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

import torch


@dataclass(frozen=True, eq=False)
class Judged:
    """What one operation wrote, or some of it: float64 tensors (windows, length, ...) with the last axis from `first`
    on. bound 0 asks for equal numbers. inputs, of a product alone: (windows, length, in_features). tensor: name of
    the weights, if any. replay: `exact` is not the exact result but the engine's float32 one again."""

    operation: str
    out: torch.Tensor
    exact: torch.Tensor
    bound: torch.Tensor
    first: int = 0
    inputs: torch.Tensor | None = None
    tensor: str = ""
    replay: bool = False


def same(operation: str, out: torch.Tensor, exact: torch.Tensor, tensor: str = "") -> Judged:
    """Of what has one right answer in float32, in whatever order it is computed."""
    bound = torch.zeros((), dtype=torch.float64).expand(out.shape)
    return Judged(operation, out.double(), exact.double().view(out.shape), bound, tensor=tensor)


def replayed(operation: str, out: torch.Tensor, exact: torch.Tensor, first: int = 0, tensor: str = "") -> Judged:
    """Of what has one right answer in the engine's own order of float32 operations."""
    return dataclasses.replace(same(operation, out, exact, tensor), first=first, replay=True)
