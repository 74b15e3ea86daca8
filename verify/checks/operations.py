"""Check `operations`: each operation of the engine is within the error bound of its own float32 arithmetic.

The check is rigorous: a bound holds for every input and has no fitted constants. A wrong weight, table, epsilon or
order shows at the layer and operation where it happens, however deep the model is.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from verify.checks.digits import beside, counted
from verify.checks.result import CheckResult, skipped, within
from verify.operations import bounds
from verify.operations.comparison import Comparison, worst_element
from verify.operations.matched_filter import find_weight

# Above this share of a row's squared error, one weight is named as the explanation.
_ONE_WEIGHT = 0.9


@dataclass(frozen=True)
class LayerReport:
    """Describes one operation of one layer (None: embedding or classifier) over all windows.

    max_error_over_bound: 1 is still right. It is infinite if the result is not finite, or if it differs from the only
    right answer. arithmetic: the reader's, mirror or fast.
    """

    activations: str
    layer: int | None
    operation: str
    max_error: float
    max_error_over_bound: float
    where: dict[str, Any]
    arithmetic: str = "mirror"


@dataclass(frozen=True)
class FoundOperations:
    """Holds the reports on some windows, as they were found. order: of operations within a layer."""

    layers: tuple[LayerReport, ...]
    order: tuple[str, ...]


class Operations:
    """Gathers comparisons in the order of the pass. arithmetic: of what add() adds."""

    def __init__(self, arithmetic: str = "mirror") -> None:
        self._arithmetic = arithmetic
        self._reports: dict[tuple[str, str, int | None, str], LayerReport] = {}
        self._order: dict[str, int] = {}

    @property
    def layers(self) -> tuple[LayerReport, ...]:
        """Return the reports in the order of the pass."""
        return tuple(sorted(self._reports.values(), key=self._place))

    @property
    def found(self) -> FoundOperations:
        """Return what was gathered so far, for merge()."""
        return FoundOperations(tuple(self._reports.values()), tuple(self._order))

    def merge(self, found: FoundOperations) -> None:
        """Add what another instance found in later windows."""
        for operation in found.order:
            self._order.setdefault(operation, len(self._order))
        for report in found.layers:
            self._keep(report)

    def _keep(self, report: LayerReport) -> None:
        """Keep the larger of two ratios, or the earlier of equal ones, and the larger of both errors."""
        key = (report.arithmetic, report.activations, report.layer, report.operation)
        before = self._reports.get(key, report)
        kept = report if not before.max_error_over_bound >= report.max_error_over_bound else before
        largest = max(before.max_error, report.max_error)
        self._reports[key] = kept if kept.max_error == largest else dataclasses.replace(kept, max_error=largest)

    def _place(self, report: LayerReport) -> tuple[bool, str, float, int]:
        """Sort by arithmetic, activations, layer and operation in the order of a pass; the classifier comes last."""
        order = self._order[report.operation]
        first_of_all = report.operation == "embedding"
        layer = -1.0 if first_of_all else math.inf if report.layer is None else float(report.layer)
        return report.arithmetic != "mirror", report.activations, layer, order

    def add(self, activations: str, layer: int | None, windows: list[int], judged: Comparison) -> float:
        """Add a comparison; return its largest error over bound. windows: the numbers of those along its first
        axis."""
        self._order.setdefault(judged.operation, len(self._order))
        largest, worst, at = worst_element(judged)
        key = (self._arithmetic, activations, layer, judged.operation)
        before = self._reports.get(key)
        if before is not None:
            largest = max(largest, before.max_error)
            if before.max_error_over_bound >= worst:
                self._reports[key] = dataclasses.replace(before, max_error=largest)
                return worst
        place = [int(i) for i in np.unravel_index(at, judged.out.shape)]
        where: dict[str, Any] = {
            "window": windows[place[0]],
            "position": place[1],
            "index": [*place[2:-1], place[-1] + judged.first],
            "expected": float(judged.exact[tuple(place)]),
            "found": float(judged.out[tuple(place)]),
        }
        if judged.tensor:
            where["tensor"] = judged.tensor_at(place)
        if worst > 1 and judged.inputs is not None:
            residual, bound, inputs = judged.of_tensor_at(place)
            suspect = find_weight(residual, bounds.utilisation(residual.abs(), bound), inputs)
            where |= dataclasses.asdict(suspect) | {"row": suspect.row + judged.first}
        operation = judged.operation
        self._reports[key] = LayerReport(activations, layer, operation, largest, worst, where, self._arithmetic)
        return worst

    @property
    def failures(self) -> list[LayerReport]:
        """Return the reports beyond their bound, in the order of the pass."""
        return self.beyond(1.0)

    def beyond(self, limit: float) -> list[LayerReport]:
        """Return the reports beyond this many times their bound, in the order of the pass."""
        return [report for report in self.layers if not report.max_error_over_bound <= limit]

    def verdict(self, limit: float = 1.0) -> CheckResult:
        """Judge all operations. limit: of error over bound."""
        if not self._reports:
            return skipped("operations", "rigorous", "no operation was recorded")
        reports, failures = self.layers, self.beyond(limit)
        worst = max(report.max_error_over_bound for report in reports)
        if not failures:
            highest = max(reports, key=lambda report: report.max_error_over_bound)
            detail = f"{counted(len(reports), 'operation')}; nearest to its bound: {name_of(highest)}"
            return within("operations", "rigorous", worst, limit, detail, where_of(highest))
        first = failures[0]
        return within("operations", "rigorous", worst, limit, describe(failures), where_of(first))


def name_of(report: LayerReport) -> str:
    """Name an operation: "layer 1 down, int8 activations, fast"."""
    layer = "" if report.layer is None else f"layer {report.layer} "
    int8 = ", int8 activations" if report.activations == "q8" else ""
    fast = "" if report.arithmetic == "mirror" else f", {report.arithmetic}"
    return f"{layer}{report.operation}{int8}{fast}"


def describe(failures: Sequence[LayerReport]) -> str:
    """Describe the first failed operation, and name the worst: the only number of times is that of `observed`."""
    report, worst = failures[0], max(failures, key=lambda failure: failure.max_error_over_bound)
    at = report.where
    size = "is not the one right answer" if math.isinf(report.max_error_over_bound) else "exceeds its error bound"
    if worst is report and not math.isinf(report.max_error_over_bound):
        size += f" {_times(report)}"
    text = (
        f"{name_of(report)} {size} at window {at['window']}, position {at['position']}, index {at['index']}: "
        f"expected {at['expected']:.9g}, found {at['found']:.9g}"
    )
    if "row" in at:
        text += f"; {counted(at['rows'], 'row')} of {at['tensor']} {'is' if at['rows'] == 1 else 'are'} wrong"
        if at["explained"] > _ONE_WEIGHT:
            text += f", as if weight [{at['row']}, {at['column']}] were off by {at['delta']:+.3g}"
    if others := len(failures) - 1:
        text += f"; {counted(others, 'later operation')} {'is' if others == 1 else 'are'} also wrong"
        if worst is not report:
            size = "is not finite" if math.isinf(worst.max_error_over_bound) else f"exceeds its bound {_times(worst)}"
            text += f"; the worst, {name_of(worst)}, {size}"
    return text


def _times(report: LayerReport) -> str:
    """Write the factor as the column `observed` does."""
    return f"{beside(report.max_error_over_bound, 1.0)} times"


def where_of(report: LayerReport) -> dict[str, Any]:
    """Return the place of an operation for a check's result."""
    return {
        "arithmetic": report.arithmetic,
        "activations": report.activations,
        "layer": report.layer,
        "operation": report.operation,
        **report.where,
    }
