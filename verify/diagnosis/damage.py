"""What the differences say by themselves, where no known mistake gives the file's bits."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np
import torch

import reader_c
from verify.diagnosis.case import Case, healthy

_FEW = 8  # differing elements that are still told one by one
_SAMPLE = 1 << 20  # elements that a correlation is taken of


@dataclass
class _Differences:
    """count: elements of all parts. zeros: how many of them are zero in the file. covered: weights that they stand
    for, a scale for all of its group. first, last: positions in the
    flat tensor. least_column: leftmost. few: (part, index, expected bits, found bits) of the first ones."""

    count: int = 0
    zeros: int = 0
    covered: int = 0
    first: int = -1
    last: int = -1
    least_column: int = 1 << 62
    few: list[tuple[str, tuple[int, ...], int, int]] = field(default_factory=list)


def damage(case: Case, name: str) -> tuple[str, str] | None:
    """(signature, what) of a tensor that is right but for zeros or a few elements; None for any other."""
    seen = _differences(case, name)
    if seen is None:
        return None
    rows, width = case.weights(name).shape
    return _zeros(seen, rows, width) or (_few(seen) if seen.count <= min(_FEW, rows * width // 4) else None)


def _zeros(seen: _Differences, rows: int, width: int) -> tuple[str, str] | None:
    """Zeros where most of what they replace was none."""
    tail = width - seen.least_column
    if seen.zeros < seen.count:
        return None
    if 2 * tail <= width and seen.covered * 2 > rows * tail:
        return "row-tails-zero", f"zeros in the last {tail} {'column' if tail == 1 else 'columns'} of each row"
    if seen.last == rows * width - 1 and seen.covered * 2 > seen.last - seen.first:
        return "cut-short", "the source's values up to some element, and zeros from there to the end"
    return None


def _few(seen: _Differences) -> tuple[str, str]:
    part, index, expected, found = seen.few[0]
    where, flipped = f"{part} {list(index)}", expected ^ found
    if seen.count > 1:
        return "few-elements", f"the right values but for {seen.count} elements, the first of them {where}"
    if flipped.bit_count() > 1:
        return "few-elements", f"the right values but for {where}: bits {found:#x} instead of {expected:#x}"
    return "bit-flipped", f"the right values but for one bit: bit {flipped.bit_length() - 1} of {where} is flipped"


def _differences(case: Case, name: str) -> _Differences | None:
    """None as soon as there are many that are not zero in the file."""
    seen = _Differences()
    width = case.weights(name).shape[1]
    is_vector = len(case.shapes[name]) == 1
    for block in case.differences(name, healthy):
        assert block is not None
        rows, derived, found, differ = block
        for part, wrong in differ.items():
            places = np.argwhere(wrong)
            if not len(places):
                continue
            seen.count += len(places)
            seen.zeros += int((found[part][wrong] == 0).sum())
            each = rows.group_size if part == "scale" else 1
            seen.covered += len(places) * each
            columns = places[:, 1] * each
            flat = (rows.first + places[:, 0]) * width + columns
            seen.first = int(flat[0]) if seen.first < 0 else min(seen.first, int(flat[0]))
            seen.last = max(seen.last, int(flat[-1]) + each - 1)
            seen.least_column = min(seen.least_column, int(columns.min()))
            for row, column in places[: _FEW - len(seen.few)].tolist():
                index = (rows.first + row,) if is_vector else (rows.first + row, column)
                seen.few.append((part, index, int(derived[part][row, column]), int(found[part][row, column])))
            if seen.zeros < seen.count and seen.count > _FEW:
                return None
    return seen


def resemblance(case: Case, name: str) -> tuple[str, str]:
    """(signature, what) as the last resort: how the tensor's numbers go with the source's."""
    weights = case.weights(name)
    every = max(1, math.ceil(weights.numel() / _SAMPLE))
    # numpy warns of some NaNs where it only has to copy them
    with np.errstate(invalid="ignore"):
        stored = case.model.tensor(name)
        if isinstance(stored, reader_c.QuantizedTensor):
            q, scale = (torch.from_numpy(part[::every].astype(np.float64)) for part in (stored.q, stored.scale))
            here = q * scale.repeat_interleave(stored.group_size, dim=1)
        else:
            here = torch.from_numpy(stored.reshape(len(weights), -1)[::every].astype(np.float64))
    r = _correlation(here, weights[::every].double())
    if math.isnan(r):
        return "not-comparable", "numbers that cannot be compared with the source's: constant, or not finite"
    # five deviations of the correlation of that many independent numbers
    if abs(r) < max(0.1, 5 / math.sqrt(here.numel())):
        unrelated = f"numbers unrelated to the source's (correlation {r:.3f})"
        return "unrelated-numbers", f"{unrelated}, as of a tensor that was initialised and never loaded"
    return "no-known-mistake", f"numbers that no known mistake makes of the source's (correlation {r:.6f} with them)"


def _correlation(a: torch.Tensor, b: torch.Tensor) -> float:
    """Pearson's; NaN where either is constant or not finite."""
    a, b = a - a.mean(), b - b.mean()
    size = a.norm() * b.norm()
    return float((a * b).sum() / size) if size > 0 else math.nan
