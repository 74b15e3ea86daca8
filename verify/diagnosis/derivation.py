"""Define derivations: what a file would hold of some rows if its writer had made a certain mistake."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch

from verify.oracle.expected import parts
from verify.sources import Hyperparameters

# Part's name -> its values: "fp32", "fp16", "bf16", or "int8" and "scale".
Parts = dict[str, torch.Tensor]


@dataclass(frozen=True)
class Rows:
    """Names the rows, from first to last (exclusive), of one of the file's tensors that a derivation makes.

    weights: the source's whole tensor, float32 (rows, width); a vector has one column.
    """

    name: str
    weights: torch.Tensor
    first: int
    last: int
    storage: str
    group_size: int
    hyper: Hyperparameters

    @property
    def own(self) -> torch.Tensor:
        """Return the same rows of the source."""
        return self.weights[self.first : self.last]

    @property
    def numbers(self) -> torch.Tensor:
        """Return the indices of these rows, int64."""
        return torch.arange(self.first, self.last)

    def stored(self, weights: torch.Tensor) -> Parts:
        """Return what the file would hold of these rows if they had these weights."""
        return parts(weights, self.storage, self.group_size)

    def healthy(self) -> Parts:
        """Return what the file must hold of these rows."""
        return self.stored(self.own)


# What a mistake makes of some rows, in the parts and shapes of their storage; None if it cannot happen there.
Derivation = Callable[[Rows], Parts | None]


def healthy(rows: Rows) -> Parts:
    """Derive the rows without a mistake."""
    return rows.healthy()
