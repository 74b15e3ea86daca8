"""Describe a tensor whose bits no known mistake gives by its differing elements."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from verify.diagnosis import mistakes as m
from verify.diagnosis.bit_comparison import BitComparison, wrong_rows
from verify.diagnosis.derivation import healthy
from verify.diagnosis.found_numbers import numbers_beside
from verify.diagnosis.mistakes import Mistake
from verify.diagnosis.row_contents import contents_of_rows
from verify.diagnosis.row_fits import indices

_FEW = 8  # differing elements that are still described one by one
_MOST_WRONG = 0.25  # share of wrong rows or columns, beside which the others are still called right


@dataclass
class _Differences:
    """Describes the differing elements of a tensor's parts.

    count: how many there are. zeros: how many of them are zero in the file. covered: how many weights they concern; a
    scale concerns its whole group. first, last: positions in the flat tensor. least_column: the leftmost column. few:
    (part, index, expected bits, found bits) of the first ones.
    """

    count: int = 0
    zeros: int = 0
    covered: int = 0
    first: int = -1
    last: int = -1
    least_column: int = 1 << 62
    few: list[tuple[str, tuple[int, ...], int, int]] = field(default_factory=list)

    def add(self, places: NDArray[np.intp], group: int, first_row: int, width: int) -> None:
        """Count the elements at places (n, 2) of a block of rows; each concerns `group` weights of its row."""
        self.count += len(places)
        self.covered += len(places) * group
        columns = places[:, 1] * group
        flat = (first_row + places[:, 0]) * width + columns
        self.first = int(flat[0]) if self.first < 0 else min(self.first, int(flat[0]))
        self.last = max(self.last, int(flat[-1]) + group - 1)
        self.least_column = min(self.least_column, int(columns.min()))


def damage(compared: BitComparison, name: str) -> tuple[Mistake, str] | None:
    """Return (mistake, sentence) for a tensor that is right except for zeros or a few elements; None for others."""
    seen = _differences(compared, name)
    rows, width = compared.weights(name).shape
    if seen is not None:
        few = _few(seen) if seen.count <= min(_FEW, rows * width // 4) else None
        described = _zeros(compared, name, seen) or few
        if described is not None:
            return described
    return _few_rows(compared, name) if width > 1 else None


def _zeros(compared: BitComparison, name: str, seen: _Differences) -> tuple[Mistake, str] | None:
    """Recognise a region of zeros, where most of the right values are not zero."""
    rows, width = compared.weights(name).shape
    tail = width - seen.least_column
    if seen.zeros < seen.count:
        return None
    zero = torch.cat([found == 0 for _, found, _ in numbers_beside(compared, name)])
    if 2 * tail <= width and seen.covered * 2 > rows * tail and zero[:, seen.least_column :].all():
        return m.ROW_TAILS_ZERO, m.ROW_TAILS_ZERO.of_file(count="column" if tail == 1 else f"{tail} columns")
    if zero.flatten()[seen.first :].all() and seen.covered * 2 > seen.last - seen.first:
        return m.CUT_SHORT, m.CUT_SHORT.of_file()
    return None


def _few_rows(compared: BitComparison, name: str) -> tuple[Mistake, str] | None:
    """Name the rows, or the columns, that are wrong if they are few."""
    rows, width = compared.weights(name).shape
    wrong = np.zeros(rows, np.bool_)
    columns = np.zeros(width, np.bool_)
    for block in compared.differences(name, healthy):
        assert block is not None
        at, _, _, differ = block
        wrong[at.first : at.last] = wrong_rows(differ)
        for part in differ.values():
            columns |= np.repeat(part.any(axis=0), width // part.shape[1])
    for what, seen in (("rows", wrong), ("columns", columns)):
        places = np.flatnonzero(seen).tolist()
        if len(places) <= _MOST_WRONG * len(seen):
            holds = contents_of_rows(compared, name, places) if what == "rows" else ""
            return m.FEW_ROWS, m.FEW_ROWS.of_file(which=indices(what, places, len(seen)) + holds)
    return None


def _few(seen: _Differences) -> tuple[Mistake, str]:
    part, index, expected, found = seen.few[0]
    where, flipped = f"{part} {list(index)}", expected ^ found
    if seen.count > 1:
        return m.FEW_ELEMENTS, m.FEW_ELEMENTS.of_file(which=f"{seen.count} elements, the first of them {where}")
    if flipped.bit_count() > 1:
        return m.FEW_ELEMENTS, m.FEW_ELEMENTS.of_file(which=f"{where}: bits {found:#x} instead of {expected:#x}")
    return m.BIT_FLIPPED, m.BIT_FLIPPED.of_file(bit=flipped.bit_length() - 1, where=where)


def _differences(compared: BitComparison, name: str) -> _Differences | None:
    """Gather the differences of a tensor; None as soon as many of them are not zero in the file."""
    seen = _Differences()
    width = compared.weights(name).shape[1]
    is_vector = len(compared.shapes[name]) == 1
    for block in compared.differences(name, healthy):
        assert block is not None
        rows, derived, found, differ = block
        for part, wrong in differ.items():
            places = np.argwhere(wrong)
            if not len(places):
                continue
            seen.add(places, rows.group_size if part == "scale" else 1, rows.first, width)
            seen.zeros += int((found[part][wrong] == 0).sum())
            seen.few += _first_few(part, places[: _FEW - len(seen.few)], derived, found, rows.first, is_vector)
            if seen.zeros < seen.count and seen.count > _FEW:
                return None
    return seen


def _first_few(
    part: str,
    places: NDArray[np.intp],
    derived: dict[str, NDArray[Any]],
    found: dict[str, NDArray[Any]],
    first_row: int,
    is_vector: bool,
) -> list[tuple[str, tuple[int, ...], int, int]]:
    few: list[tuple[str, tuple[int, ...], int, int]] = []
    for row, column in places.tolist():
        index = (first_row + row,) if is_vector else (first_row + row, column)
        few.append((part, index, int(derived[part][row, column]), int(found[part][row, column])))
    return few
