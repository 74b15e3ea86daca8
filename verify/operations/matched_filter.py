"""Find the wrong weight of a product from the product's errors.

If weight (i, j) is off by d, then output i is off by d * x[j] at every position. So the wrong column is the one whose
inputs resemble the errors of row i most.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch


@dataclass(frozen=True)
class Suspect:
    """Names the weight that explains most of a row's error.

    explained: the share of the row's squared error that this weight, off by `delta`, explains; 1 if nothing else is
    wrong. rows: how many rows are beyond their bound.
    """

    row: int
    column: int
    delta: float
    explained: float
    rows: int


def find_weight(residual: torch.Tensor, beyond: torch.Tensor, inputs: torch.Tensor) -> Suspect:
    """Find the suspect in the row that exceeds its bound most.

    residual: found minus expected, float64 (tokens, rows). beyond: error over bound, in the same shape. inputs:
    (tokens, columns).
    """
    residual = residual.nan_to_num(nan=0.0, posinf=0.0, neginf=0.0)
    row = int(beyond.amax(0).argmax())
    errors, inputs = residual[:, row], inputs.double()
    norms = inputs.square().sum(0)
    likeness = errors @ inputs
    # the squared error that each column explains by itself
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
