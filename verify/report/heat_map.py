"""Draw the heat map of error over bound, with a row for each operation and a column for each layer."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from verify.checks.digits import beside, number, percentage
from verify.checks.operations import LayerReport, name_of
from verify.report.formatting import anything

# Upper ends of the steps of the colour scale, in error over bound: logarithmic, and finer near the bound. Step 0 is
# no error at all; the step after the last is beyond the bound but within the policy's limit.
STEPS = (1e-3, 1e-2, 3e-2, 0.1, 0.3, 1.0)

# The largest number of columns with room for numbers in the cells, and for the panel beside the map.
_ROOM_FOR_NUMBERS, _ROOM_FOR_PANEL = 14, 36


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
    """Shows one operation in all layers."""

    operation: str
    cells: Sequence[Cell | None]


@dataclass(frozen=True)
class HeatMap:
    """Shows one arithmetic and one kind of activations.

    active: the cell to start at: the first that failed, or the one nearest to its bound. room: "few" columns leave
    room for numbers; otherwise "some" or "many".
    """

    arithmetic: str
    activations: str
    columns: Sequence[str]
    rows: Sequence[Row]
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
    numbers = sorted({report.layer for report in layers if report.layer is not None})
    columns = [*(_column(report) for report in layers if report.operation == "embedding")][:1]
    columns += [str(number) for number in numbers]
    if any(_column(report) == "out" for report in layers):
        columns.append("out")
    failed = [report for report in layers if not report.max_error_over_bound <= limit]
    start = failed[0] if failed else max(layers, key=lambda report: report.max_error_over_bound)
    cells = {(report.operation, _column(report)): _cell(report, limit, report is start) for report in layers}
    return HeatMap(
        arithmetic=layers[0].arithmetic,
        activations=layers[0].activations,
        columns=columns,
        rows=[
            Row(operation, [cells.get((operation, column)) for column in columns])
            for operation in dict.fromkeys(report.operation for report in layers)
        ],
        active=cells[start.operation, _column(start)],
        failures=len(failed),
        room="few" if len(columns) <= _ROOM_FOR_NUMBERS else "some" if len(columns) <= _ROOM_FOR_PANEL else "many",
    )


def _column(report: LayerReport) -> str:
    if report.layer is not None:
        return str(report.layer)
    return "emb" if report.operation == "embedding" else "out"


def _cell(report: LayerReport, limit: float, active: bool) -> Cell:
    ratio = report.max_error_over_bound
    failed = not ratio <= limit
    step = 0 if ratio == 0 else next((n for n, end in enumerate(STEPS, 1) if ratio <= end), len(STEPS) + 1)
    size = f"{beside(ratio, limit)}, {'beyond' if failed else 'within'} the limit of {number(limit)}"
    if not math.isfinite(ratio):
        size = "not the one right answer, or not finite"
    return Cell(
        step=step,
        failed=failed,
        text=_short(ratio),
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
    if "row" in at and "column" in at:
        found["weight"] = (
            f"[{anything(at['row'])}, {anything(at['column'])}] off by {anything(at.get('delta'))} would explain "
            f"{_part(at.get('explained'))} of its row's squared error; wrong rows: {anything(at.get('rows'))}"
        )
    return found


def _part(share: Any) -> str:
    return percentage(share, 2) if isinstance(share, float) else anything(share)


def _short(ratio: float) -> str:
    """Write a ratio with two digits, for a cell."""
    if not math.isfinite(ratio):
        return "∞" if ratio == math.inf else "nan"
    if ratio == 0:
        return "0"
    if ratio < 0.01:
        return "<.01"
    if ratio < 0.995:
        return f"{ratio:.2f}"[1:]
    return f"{ratio:.1f}" if ratio < 10 else f"{ratio:.0e}".replace("e+0", "e").replace("e+", "e")
