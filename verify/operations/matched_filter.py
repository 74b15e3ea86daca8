"""Which weight of a product is wrong, from what the product is off by.

If weight (i, j) is off by d, then output i is off by d * x[j] at every position: the column whose inputs look most
like the errors of row i is the one to blame.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch


@dataclass(frozen=True)
class Suspect:
    """explained: share of row's squared error that one weight, off by `delta`, accounts for: 1 where it is that and
    nothing else. rows: how many rows are beyond their bound."""

    row: int
    column: int
    delta: float
    explained: float
    rows: int


def find_weight(residual: torch.Tensor, beyond: torch.Tensor, inputs: torch.Tensor) -> Suspect:
    """residual: what was found less what was expected, float64 (tokens, rows); beyond: error over bound, the same
    shape; inputs (tokens, columns)."""
    residual = residual.nan_to_num(nan=0.0, posinf=0.0, neginf=0.0)
    row = int(beyond.amax(0).argmax())
    errors, inputs = residual[:, row], inputs.double()
    norms = inputs.square().sum(0)
    likeness = errors @ inputs
    # squared error that each column alone can explain
    explained = torch.where(norms > 0, likeness.square() / norms, 0.0)
    column = int(explained.argmax())
    total = float(errors.square().sum())
    return Suspect(
        row=row,
        column=column,
        delta=float(likeness[column] / norms[column]) if norms[column] > 0 else 0.0,
        explained=float(explained[column]) / total if total > 0 else 0.0,
        rows=int((beyond > 1).any(0).sum()),
    )
