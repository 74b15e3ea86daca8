"""Place the errors of all operations on their bounds: a strip for each operation, with a tick for each layer."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from verify.checks.digits import beside, counted
from verify.checks.operations import LayerReport
from verify.report.heat_map import in_order, is_tight
from verify.report.plots import LogScale

# Parts of a strip, in thousandths: no error at the left, then the scale up to the limit, then beyond the limit.
_START, _LIMIT = 40.0, 930.0
# Decades below the limit that are shown; smaller errors are drawn at the scale's left end.
_MOST_DECADES = 5


@dataclass(frozen=True)
class Strip:
    """Shows one operation in all layers and arithmetics.

    ticks: by activations, as the path of a field of 1000 by 20: float32 in its upper half, int8 in its lower. Those
    beyond the limit have none, and failed says so.
    tight: whether any healthy engine comes close to the bound.
    """

    operation: str
    ticks: dict[str, str]
    largest: str
    label: str
    failed: bool
    tight: bool


@dataclass(frozen=True)
class ErrorStrips:
    """Holds the strips with their common scale. kinds: of activations. ticks: (percent, label); limit: in percent."""

    strips: Sequence[Strip]
    kinds: Sequence[str]
    ticks: Sequence[tuple[float, str]]
    limit: float


def error_strips(layers: Sequence[LayerReport], limit: float) -> ErrorStrips | None:
    """Return a strip for each operation, in the order of a layer; None if none was judged against a limit."""
    if not layers or not math.isfinite(limit) or limit <= 0:
        return None
    ratios = [report.max_error_over_bound for report in layers]
    scale = _scale(ratios, limit)
    operations: dict[str, list[LayerReport]] = {}
    for report in layers:
        operations.setdefault(report.operation, []).append(report)
    return ErrorStrips(
        strips=[_strip(operation, operations[operation], scale, limit) for operation in in_order(operations)],
        kinds=list(dict.fromkeys(report.activations for report in layers)),
        ticks=[(_place(at) / 10, "1" if label == "1e0" else label) for at, label in scale.ticks],
        limit=_place(scale.at(limit)) / 10,
    )


def _scale(ratios: Iterable[float], limit: float) -> LogScale:
    """Return whole decades up to the limit, from the smallest error on."""
    high = math.ceil(math.log10(limit))
    low = min((math.log10(ratio) for ratio in ratios if 0 < ratio <= limit), default=high - 1)
    return LogScale(max(min(math.floor(low), high - 1), high - _MOST_DECADES), high)


def _along(scale: LogScale, ratio: float) -> float:
    """Return the place of an error within the limit, in thousandths of a strip."""
    return 0.0 if ratio == 0 else _place(scale.at(ratio))


def _place(at: float) -> float:
    return round(_START + (_LIMIT - _START) * at / 100)


def _strip(operation: str, found: Sequence[LayerReport], scale: LogScale, limit: float) -> Strip:
    kinds = sorted({report.activations for report in found})
    inside = [report for report in found if report.max_error_over_bound <= limit]
    beyond = len(found) - len(inside)
    # a NaN is beyond every limit
    largest = max((report.max_error_over_bound for report in found), key=lambda r: (math.isnan(r), r))
    size = f"largest {beside(largest, limit)} of {beside(limit, largest)}"
    return Strip(
        operation=operation,
        ticks={
            kind: _path(kind, (_along(scale, r.max_error_over_bound) for r in inside if r.activations == kind))
            for kind in kinds
        },
        largest=beside(largest, limit),
        label=f"{operation}: {counted(len(found), 'error')}, {size}" + (f", {beyond} beyond" if beyond else ""),
        failed=beyond > 0,
        tight=is_tight(operation),
    )


def _path(kind: str, places: Iterable[float]) -> str:
    ends = "10V20" if kind == "q8" else "0V10"
    return "".join(f"M{place:g} {ends}" for place in sorted(set(places)))
