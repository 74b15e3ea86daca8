"""Compute the places of what the page draws, in percent of the plot. The template draws them, in the page's
colours."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from statistics import median

from verify.checks.baseline import BaselineComparison
from verify.checks.digits import counted, number
from verify.checks.metrics import Metrics, WindowMetrics

# Columns of a plot; more would not be visible.
_MOST_COLUMNS = 256
# Decades below the largest value that are shown; smaller values are drawn at the bottom.
_MOST_DECADES = 8
# A limit at most this many decades above the largest value is drawn; a higher one is only written.
_LIMIT_DECADES = 1


@dataclass(frozen=True)
class LogScale:
    """Maps decades from low to high to 0 to 100 percent, from the bottom up."""

    low: int
    high: int

    def at(self, value: float) -> float:
        """Return the height of a value."""
        if math.isnan(value) or value <= 0:
            return 0.0
        return self._height(math.log10(value) if math.isfinite(value) else self.high)

    def reaches(self, value: float) -> bool:
        """Return whether the value is on the scale or below it. The top may be above every float: 10^309."""
        return value > 0 and math.log10(value) <= self.high

    def _height(self, exponent: float) -> float:
        return _percent((exponent - self.low) / (self.high - self.low))

    @property
    def ticks(self) -> list[tuple[float, str]]:
        """Return (percent, label) of a few whole decades."""
        every = math.ceil((self.high - self.low) / 4)
        return [(self._height(power), f"1e{power}") for power in range(self.low, self.high + 1, every)]


def log_scale(values: Iterable[float], limit: float | None) -> LogScale:
    """Return a scale that is wide enough for the values, and for the limit if it is near."""
    drawn = [math.log10(value) for value in values if value > 0 and math.isfinite(value)]
    if not drawn:
        return LogScale(-1, 0)
    high = math.ceil(max(drawn))
    if limit is not None and limit > 0 and max(drawn) < math.log10(limit) < high + _LIMIT_DECADES:
        high = math.ceil(math.log10(limit))
    low = max(math.floor(min(drawn)), high - _MOST_DECADES)
    return LogScale(low, max(high, low + 1))


@dataclass(frozen=True)
class Band:
    """Draws the range over windows and the median, as paths in a field of 1000 by 100."""

    activations: str
    range: str
    median: str


@dataclass(frozen=True)
class Mark:
    """Marks a worst position, in percent of the plot."""

    left: float
    bottom: float
    label: str
    activations: str


@dataclass(frozen=True)
class PositionPlot:
    """Shows one quantity at each position, for the windows of one origin."""

    title: str
    summary: str
    scale: LogScale
    ends: tuple[str, str]
    bands: Sequence[Band]
    marks: Sequence[Mark]
    limit: float | None
    limit_text: str


@dataclass(frozen=True)
class Quantity:
    """Says what is plotted: kl or logit_error, and the policy's limit for it, if it sets one."""

    field: str
    title: str
    limit: float | None


def position_plots(
    windows: Sequence[WindowMetrics], metrics: dict[str, Metrics], quantities: Sequence[Quantity]
) -> list[tuple[str, list[PositionPlot]]]:
    """Return (origin and number of windows, its plots).

    metrics: by activations; their worst positions are marked. A quantity has the same scale in all plots.
    """
    found = []
    scales = [
        log_scale((value for window in windows for value in getattr(window, q.field)), q.limit) for q in quantities
    ]
    for origin in dict.fromkeys(window.origin for window in windows):
        chosen = [window for window in windows if window.origin == origin]
        title = f"{origin}, {counted(len({window.window for window in chosen}), 'window')}"
        plots = [_plot(chosen, title, q, scale, metrics) for q, scale in zip(quantities, scales, strict=True)]
        found.append((title, plots))
    return found


def _plot(
    windows: Sequence[WindowMetrics], title: str, quantity: Quantity, scale: LogScale, metrics: dict[str, Metrics]
) -> PositionPlot:
    kinds = dict.fromkeys(window.activations for window in windows)
    length = max(len(getattr(window, quantity.field)) for window in windows)
    values = {
        kind: [getattr(window, quantity.field) for window in windows if window.activations == kind] for kind in kinds
    }
    every = [value for rows in values.values() for row in rows for value in row]
    return PositionPlot(
        title=quantity.title,
        summary=f"{quantity.title} at {counted(length, 'position')} of {title}: median {number(_median(every))}, "
        f"largest {number(max(every, default=math.nan))}",
        scale=scale,
        ends=("0", str(max(length - 1, 0))),
        bands=[_band(kind, rows, length, scale) for kind, rows in values.items()],
        marks=_marks(windows, quantity, length, scale, metrics),
        limit=scale.at(quantity.limit) if quantity.limit is not None and scale.reaches(quantity.limit) else None,
        limit_text="no limit" if quantity.limit is None else f"limit {number(quantity.limit)}",
    )


def _marks(
    windows: Sequence[WindowMetrics], quantity: Quantity, length: int, scale: LogScale, metrics: dict[str, Metrics]
) -> list[Mark]:
    numbers = {(window.activations, window.window) for window in windows}
    return [
        Mark(
            left=_along(at.position, length),
            bottom=scale.at(at.kl if quantity.field == "kl" else at.max_abs_logit_error),
            label=f"window {at.window}, position {at.position}: KL {number(at.kl)}",
            activations=kind,
        )
        for kind, found in metrics.items()
        for at in found.worst_positions
        if (kind, at.window) in numbers
    ]


def _band(activations: str, rows: Sequence[Sequence[float]], length: int, scale: LogScale) -> Band:
    """Draw the smallest, the median and the largest value of each column over all windows."""
    width = max(1, math.ceil(length / _MOST_COLUMNS))
    top, middle, ground = [], [], []
    for first in range(0, length, width):
        values = [value for row in rows for value in row[first : first + width] if not math.isnan(value)]
        if values:
            x = 10 * _along(first + (min(width, length - first) - 1) / 2, length)
            top.append((x, scale.at(max(values))))
            middle.append((x, scale.at(_median(values))))
            ground.append((x, scale.at(min(values))))
    return Band(activations, _path([*top, *reversed(ground)]), _path(middle))


def _median(values: Sequence[float]) -> float:
    return median(values) if values else math.nan


def _path(points: Sequence[tuple[float, float]]) -> str:
    return "M" + "L".join(f"{x:.1f} {100 - y:.1f}" for x, y in points) if points else ""


def _along(position: float, length: int) -> float:
    return _percent(position / max(length - 1, 1))


@dataclass(frozen=True)
class Interval:
    """Places a comparison with the baseline: its zero, limit and mean; its interval starts at low.

    drawn: whether all of them are finite.
    """

    comparison: BaselineComparison
    zero: float
    limit: float
    mean: float
    low: float
    width: float
    drawn: bool


def intervals(comparisons: Sequence[BaselineComparison]) -> list[Interval]:
    """Place all comparisons; those of one metric share a scale."""
    return [_interval(one, [c for c in comparisons if c.metric == one.metric]) for one in comparisons]


def _interval(comparison: BaselineComparison, group: Sequence[BaselineComparison]) -> Interval:
    ends = [0.0, *(x for c in group for x in (*c.interval, c.difference, c.limit) if math.isfinite(x))]
    low, high = min(ends), max(ends)
    room = 0.04 * (high - low) or 1.0

    def at(value: float) -> float:
        return _percent((value - low + room) / (high - low + 2 * room))

    first, last = sorted(map(at, comparison.interval))
    return Interval(
        comparison=comparison,
        zero=at(0.0),
        limit=at(comparison.limit),
        mean=at(comparison.difference),
        low=first,
        width=round(last - first, 2),
        drawn=all(map(math.isfinite, (*comparison.interval, comparison.difference, comparison.limit))),
    )


def _percent(share: float) -> float:
    """Return 0 to 100 for a share, and 0 for a NaN."""
    return 0.0 if math.isnan(share) else round(min(max(100 * share, 0.0), 100.0), 2)


@dataclass(frozen=True)
class SignedBar:
    """Draws a bar from the middle to the left or to the right."""

    left: float
    width: float


def signed_bar(value: float, most: float) -> SignedBar:
    """Place a signed value. most: the finite magnitude that fills one side."""
    if math.isnan(value) or not most:
        return SignedBar(50.0, 0.0)
    width = round(min(50.0 * (abs(value) / most), 50.0), 2)
    return SignedBar(50.0 if value >= 0 else round(50.0 - width, 2), width)
