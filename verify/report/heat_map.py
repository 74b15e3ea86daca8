"""Draw the heat map of error over bound, with a row for each operation and a column for each layer.

The colour of a cell means its distance to trouble: pale far from the bound, strong near it, red beyond the limit.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from verify.checks.digits import apart, beside, number, percentage
from verify.checks.operations import LayerReport, name_of
from verify.report.formatting import anything

# Upper ends of the steps of the colour scale, in error over bound, finer near the bound. Step 0 is no error; the step
# after the last is beyond the bound but within the policy's limit.
STEPS = (0.25, 0.5, 0.75, 0.9, 0.97, 1.0)

# Operations whose largest error is always almost the bound (docs/error-bounds.md), so that nearness to it is no sign
# of trouble: those of a single rounding, and attention's output, which sums one or two terms at the first positions.
_TIGHT = ("_rotated", " scale", " int8", "attended")

# What int8 activations add to a matrix product, in the order of the computation.
_INT8_PARTS = (" scale", " int8")

# The largest number of columns with room for numbers in the cells and for the panel beside the map, and the largest
# number of columns in one band.
_ROOM_FOR_NUMBERS, _MOST_COLUMNS = 14, 44


@dataclass(frozen=True)
class Cell:
    """Shows one operation in one layer. step: of the colour scale. data: what the panel shows, by the panel's
    keys."""

    step: int
    failed: bool
    text: str
    label: str
    active: bool
    data: Mapping[str, str]


@dataclass(frozen=True)
class Row:
    """Shows one operation in the layers of a band. tight: whether any healthy engine comes close to its bound."""

    operation: str
    cells: Sequence[Cell | None]
    tight: bool


@dataclass(frozen=True)
class Band:
    """Shows some layers. Every band of a map has the same operations; the last may have fewer columns."""

    columns: Sequence[str]
    rows: Sequence[Row]


@dataclass(frozen=True)
class HeatMap:
    """Shows one arithmetic and one kind of activations.

    width: columns of the widest band. active: the cell to start at: the first that failed, or the one nearest to its
    bound. room: "few" columns leave room for numbers; otherwise "many".
    """

    arithmetic: str
    activations: str
    bands: Sequence[Band]
    width: int
    active: Cell
    failures: int
    room: str


def heat_maps(layers: Sequence[LayerReport], limit: float) -> list[HeatMap]:
    """Return a map for each arithmetic and kind of activations. limit: the policy's, of error over bound."""
    kinds: dict[tuple[str, str], list[LayerReport]] = {}
    for report in layers:
        kinds.setdefault((report.arithmetic, report.activations), []).append(report)
    return [_heat_map(reports, limit) for reports in kinds.values()]


def _heat_map(layers: Sequence[LayerReport], limit: float) -> HeatMap:
    columns = _columns(layers)
    failed = [report for report in layers if not report.max_error_over_bound <= limit]
    start = failed[0] if failed else max(layers, key=lambda report: report.max_error_over_bound)
    cells = {(report.operation, _column(report)): _cell(report, limit, report is start) for report in layers}
    # bands of nearly equal width
    width = math.ceil(len(columns) / math.ceil(len(columns) / _MOST_COLUMNS))
    return HeatMap(
        arithmetic=layers[0].arithmetic,
        activations=layers[0].activations,
        bands=[_band(layers, cells, columns[at : at + width]) for at in range(0, len(columns), width)],
        width=width,
        active=cells[start.operation, _column(start)],
        failures=len(failed),
        room="few" if len(columns) <= _ROOM_FOR_NUMBERS else "many",
    )


def _band(layers: Sequence[LayerReport], cells: Mapping[tuple[str, str], Cell], columns: Sequence[str]) -> Band:
    operations = in_order(report.operation for report in layers)
    return Band(
        columns,
        [
            Row(operation, [cells.get((operation, column)) for column in columns], is_tight(operation))
            for operation in operations
        ],
    )


def _columns(layers: Sequence[LayerReport]) -> list[str]:
    """Return the embedding, the layers, and the output, as far as they were recorded."""
    numbers = sorted({report.layer for report in layers if report.layer is not None})
    columns = [*(_column(report) for report in layers if report.operation == "embedding")][:1]
    columns += [str(number) for number in numbers]
    if any(_column(report) == "out" for report in layers):
        columns.append("out")
    return columns


def in_order(operations: Iterable[str]) -> list[str]:
    """Return each operation once, in the order in which they come, with the parts of an int8 product before it."""
    found = dict.fromkeys(operations)
    parts = {operation + part for operation in found for part in _INT8_PARTS}
    products = [operation for operation in found if operation not in parts]
    return [
        name for product in products for name in (*(product + part for part in _INT8_PARTS), product) if name in found
    ]


def is_tight(operation: str) -> bool:
    """Return whether the largest error of an operation is almost its bound in any healthy engine."""
    return operation.endswith(_TIGHT)


def _column(report: LayerReport) -> str:
    if report.layer is not None:
        return str(report.layer)
    return "emb" if report.operation == "embedding" else "out"


def _cell(report: LayerReport, limit: float, active: bool) -> Cell:
    ratio = report.max_error_over_bound
    failed = not ratio <= limit
    step = 0 if ratio == 0 else next((n for n, end in enumerate(STEPS, 1) if ratio <= end), len(STEPS) + 1)
    if step <= len(STEPS) and is_tight(report.operation):
        step = min(step, 1)
    size = f"{beside(ratio, limit)}, {'beyond' if failed else 'within'} the limit of {number(limit)}"
    if not math.isfinite(ratio):
        size = "not the one right answer, or not finite"
    return Cell(
        step=step,
        failed=failed,
        text=_short(ratio, limit),
        label=f"{name_of(report)}: error over bound {size}",
        active=active,
        data={
            "name": name_of(report),
            "ratio": size,
            "error": number(report.max_error),
            **_where(report.where),
        },
    )


def _where(at: Mapping[str, Any]) -> dict[str, str]:
    """Describe the place, the values there, and the weight that would explain them."""
    place = ", ".join(f"{key} {anything(at[key])}" for key in ("window", "position", "index") if key in at)
    found = {"at": place, **{key: anything(at[key]) for key in ("expected", "found", "tensor") if key in at}}
    if isinstance(at.get("expected"), float) and isinstance(at.get("found"), float):
        found["expected"], found["found"] = apart(at["expected"], at["found"], digits=6)
    if "row" in at and "column" in at:
        found["weight"] = (
            f"[{anything(at['row'])}, {anything(at['column'])}] off by {anything(at.get('delta'))} would explain "
            f"{_part(at.get('explained'))} of its row's squared error; wrong rows: {anything(at.get('rows'))}"
        )
    return found


def _part(share: Any) -> str:
    return percentage(share, 2) if isinstance(share, float) else anything(share)


def _short(ratio: float, limit: float) -> str:
    """Write a ratio with two digits, for a cell. Where these read as the limit, the sign shows the order."""
    shown = _two_digits(ratio)
    if ratio != limit and shown == _two_digits(limit):
        return f"{'<' if ratio < limit else '>'}{number(limit, 2)}"
    return shown


def _two_digits(ratio: float) -> str:
    if not math.isfinite(ratio):
        return "∞" if ratio == math.inf else "nan"
    if ratio == 0:
        return "0"
    if ratio < 0.01:
        return "<.01"
    if ratio < 0.995:
        return f"{ratio:.2f}"[1:]
    return f"{ratio:.1f}" if ratio < 10 else f"{ratio:.0e}".replace("e+0", "e").replace("e+", "e")
