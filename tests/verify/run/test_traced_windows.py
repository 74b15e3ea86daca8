"""What tracing found merges, and only float activations have a reference to explain logits by."""

from __future__ import annotations

import math

import pytest

from verify.checks.operations import FoundOperations, LayerReport
from verify.run.traced_windows import Traced


def found(*reports: LayerReport) -> Traced:
    return Traced(operations=FoundOperations(reports, tuple(dict.fromkeys(one.operation for one in reports))))


def report(activations: str, share: float, arithmetic: str = "mirror") -> LayerReport:
    return LayerReport(activations, 0, "q", 1.0, share, {"window": 0}, arithmetic)


@pytest.mark.parametrize("share", [1.0000001, 2.0, math.inf, math.nan])
def test_a_failure_of_int8_activations_is_none_of_float_ones(share: float) -> None:
    fine = report("fp32", 1.0)
    assert not found(fine, report("q8", share)).wrong_in_float("mirror")
    assert not found(fine, report("q8", share), report("fp32", share, "fast")).wrong_in_float("mirror")
    assert found(report("fp32", share), report("q8", 0.5)).wrong_in_float("mirror")
    assert found(fine, report("fp32", share, "fast")).wrong_in_float("fast")


def test_an_operation_at_its_bound_is_not_wrong() -> None:
    assert not found(report("fp32", 1.0), report("q8", 1.0)).wrong_in_float("mirror")
    assert not Traced().wrong_in_float("mirror")


def test_what_any_window_found_wrong_is_wrong_in_float() -> None:
    fine, wrong = found(report("fp32", 0.5)), found(report("fp32", 2.0))
    for one in (fine.merged(wrong), wrong.merged(fine)):
        assert one.wrong_in_float("mirror")
        assert not one.wrong_in_float("fast")
