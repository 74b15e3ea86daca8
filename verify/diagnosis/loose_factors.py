"""Recognise rows or columns that were each multiplied by a factor, in storages whose rounding hides the exact ones.

In float32, affine_fits.py has factors that give every bit.
"""

from __future__ import annotations

import torch

from verify.diagnosis import mistakes as m
from verify.diagnosis.matrix_corner import Block, Corner, Seen

# Rows or columns that a factor is fitted to: fewer would follow any numbers.
_FEWEST = 16
# Roundings within which nearly every number is.
_OF_ROUNDING, _NEARLY_EVERY = 3.0, 0.995
# The largest factor over the smallest one, below which they are one factor.
_APART = 1.05


def scaled_lines(corner: Corner) -> Seen | None:
    """Recognise columns, then rows, of which each has its factor."""
    for axis, what in enumerate(("columns", "rows")):
        if corner.found.shape[axis] < _FEWEST:
            continue
        factors = _factors(corner.found, corner.expected, axis)
        sizes = factors.abs()
        if not torch.isfinite(factors).all() or float(sizes.max()) < _APART * float(sizes.min()):
            continue
        if _explained(corner, axis, factors):
            said = f"{float(sizes.min()):.2g} to {float(sizes.max()):.2g}"
            return m.ROWS_SCALED, m.ROWS_SCALED.of_file(what=what, factors=said)
    return None


def _factors(found: torch.Tensor, expected: torch.Tensor, axis: int) -> torch.Tensor:
    """Fit found = factor * expected along an axis: (1, columns) or (rows, 1)."""
    return (found * expected).sum(axis, keepdim=True) / expected.square().sum(axis, keepdim=True)


def _explained(corner: Corner, axis: int, factors: torch.Tensor) -> bool:
    blocks = corner.blocks() if axis == 0 else iter([(corner.found, corner.expected, corner.bound)])
    return all(_near(block, factors) for block in blocks)


def _near(block: Block, factors: torch.Tensor) -> bool:
    found, expected, bound = block
    near = (found - factors * expected).abs() <= _OF_ROUNDING * bound
    return float(near.double().mean()) > _NEARLY_EVERY
