"""Define Stage: one recorded layer of an engine's pass, on which mistakes are tried."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from dataclasses import dataclass

import torch

from verify.operations.attention import Recorded
from verify.operations.comparison import Comparison
from verify.operations.recompute import Recompute


@dataclass(frozen=True, eq=False)
class Stage:
    """Holds what a layer (None: embedding or classifier) recorded, and what it read.

    tokens (windows, length); x: the residual stream (windows, length, dim) before the layer.
    """

    layer: int | None
    at: Recorded
    x: torch.Tensor
    tokens: torch.Tensor

    def judge(self, recompute: Recompute) -> Iterator[Comparison]:
        """Compare every operation of the stage with its recomputation."""
        if self.layer is not None:
            return recompute.layer(self.layer, self.at, self.x)
        if "embedding" in self.at:
            return recompute.embedding(self.at, self.tokens)
        return recompute.classifier(self.at, self.x)

    def of_window(self, row: int) -> Stage:
        """Return the stage with one of its windows."""
        part = slice(row, row + 1)
        at = {name: recorded[part] for name, recorded in self.at.items()}
        return Stage(self.layer, at, self.x[part], self.tokens[part])

    def with_recorded(self, **at: torch.Tensor) -> Stage:
        """Return the stage as if it had recorded these tensors."""
        return dataclasses.replace(self, at={**self.at, **at})
