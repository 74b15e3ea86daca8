"""Say what rows hold that alone are wrong, such as those of tokens that were added to a vocabulary."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from verify.diagnosis.bit_comparison import BitComparison
from verify.diagnosis.found_numbers import numbers_from

# Wrong rows that are looked at.
_SEEN = 64
# How far from the mean of rows, relative to it, storage moves a row.
_NEAR = 0.03


def contents_of_rows(compared: BitComparison, name: str, places: Sequence[int]) -> str:
    """Return ", which hold zeros", for example; nothing if the rows have nothing in common.

    places: the wrong rows, at least one.
    """
    found = torch.cat([numbers_from(compared, name, place, 1)[0] for place in places[:_SEEN]])
    hold = f", which {'hold' if len(places) > 1 else 'holds'}"
    if not torch.isfinite(found).all():
        return f"{hold} numbers that are not finite" if not torch.isfinite(found).any() else ""
    if not found.any():
        return f"{hold} zeros"
    if float((found - found[0]).abs().max()) > _NEAR * float(found.abs().max()):
        return ""
    weights = compared.weights(name)
    others = (weights.sum(dim=0, dtype=torch.float64) - weights[list(places)].double().sum(dim=0)) / (
        len(weights) - len(places)
    )
    if float((found - others).norm()) <= _NEAR * float(found.norm()):
        return f"{hold} the mean of the other rows"
    nearest = int((weights - found[0].float()).square().sum(dim=1).argmin())
    if float((weights[nearest].double() - found[0]).norm()) <= _NEAR * float(found[0].norm()):
        return f"{hold} a copy of row {nearest}"
    return ""
