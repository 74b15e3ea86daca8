"""Recognise a merge with another checkpoint by the sizes of the numbers that it leaves."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch

from verify.diagnosis import mistakes as m
from verify.diagnosis.bit_comparison import BitComparison
from verify.diagnosis.matrix_corner import SQUARE, Corner, corner_of
from verify.diagnosis.result import Diagnosis, diagnosis_of_tensors

# A model is merged if almost all of its matrices are.
_ALMOST_ALL = 0.9


def diagnose_average(compared: BitComparison, names: Sequence[str]) -> Diagnosis | None:
    """Recognise f * source + (1 - f) * numbers of the same size that are independent of it, in almost all matrices.

    Its standard deviation is then sqrt(f^2 + (1 - f)^2) times the source's, which no factor or noise gives by itself.
    """
    matrices = [name for name, shape in compared.shapes.items() if len(shape) == 2]
    chosen = [name for name in names if name in set(matrices)]
    if len(chosen) < max(2, _ALMOST_ALL * len(matrices)):
        return None
    shares = [_share_of(corner_of(compared, name)) for name in chosen]
    known = [share for share in shares if share is not None]
    share = sum(known) / max(1, len(known))
    # the rest correlates with the source by chance alone
    chance = [0.01 + 5 * (1 - share) / math.sqrt(_counted(compared, name)) for name in chosen]
    if len(known) < len(chosen) or any(abs(one - share) > room for one, room in zip(known, chance, strict=True)):
        return None
    what = m.WEIGHTED_AVERAGE.of_file(share=f"{100 * share:.0f} %")
    return diagnosis_of_tensors(m.WEIGHTED_AVERAGE.name, what, chosen, [], len(names))


def _counted(compared: BitComparison, name: str) -> int:
    rows, width = compared.weights(name).shape
    return min(rows, SQUARE) * width


def _share_of(corner: Corner) -> float | None:
    a, b = corner.found - corner.found.mean(), corner.expected - corner.expected.mean()
    if not (torch.isfinite(a).all() and b.norm() > 0):
        return None
    share = float((a * b).sum() / b.square().sum())
    size = float(a.square().sum() / b.square().sum())
    rest = size - share**2
    # the other numbers' own size, relative to the source's
    other = math.sqrt(max(rest, 0.0)) / (1 - share) if share < 1 else math.inf
    return share if 0.1 < share < 0.97 and abs(other - 1) < 0.1 else None
