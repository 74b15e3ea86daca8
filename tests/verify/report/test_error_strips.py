"""The strips place every error on its bound, and say which operations go beyond the limit."""

from __future__ import annotations

import math

from hypothesis import given
from hypothesis import strategies as st

from verify.checks.operations import LayerReport
from verify.report.error_strips import ErrorStrips, error_strips


def layer(operation: str, ratio: float, number: int = 0, activations: str = "fp32") -> LayerReport:
    return LayerReport(activations, number, operation, 1.0, ratio, {})


def drawn(*layers: LayerReport, limit: float = 1.0) -> ErrorStrips:
    strips = error_strips(layers, limit)
    assert strips is not None
    return strips


def test_an_operation_has_a_tick_for_each_layer_on_a_logarithmic_scale() -> None:
    strips = drawn(*(layer("q", ratio, n) for n, ratio in enumerate((0.0, 0.01, 0.1, 1.0))))
    (strip,) = strips.strips
    # 0 has a place of its own; each decade is equally wide
    assert strip.ticks == {"fp32": "M0 0V10M40 0V10M485 0V10M930 0V10"}
    assert (strip.largest, strip.failed, strip.tight) == ("1", False, False)
    assert strip.label == "q: 4 errors, largest 1 of 1"
    assert strips.ticks == [(4.0, "1e-2"), (48.5, "1e-1"), (93.0, "1")]
    assert strips.limit == 93.0


def test_int8_activations_have_the_lower_half_and_their_operations_between_the_others() -> None:
    strips = drawn(
        layer("q", 0.1), layer("down", 0.1), *(layer(name, 0.5, 0, "q8") for name in ("q scale", "q", "down"))
    )
    assert [strip.operation for strip in strips.strips] == ["q scale", "q", "down"]
    assert [strip.tight for strip in strips.strips] == [True, False, False]
    assert strips.strips[1].ticks == {"fp32": "M40 0V10", "q8": "M662 10V20"}
    assert strips.kinds == ["fp32", "q8"]


def test_an_error_beyond_the_limit_is_marked_and_counted() -> None:
    strips = drawn(layer("q", 0.5), layer("q", 125.0, 1), layer("q", math.nan, 2))
    (strip,) = strips.strips
    assert strip.failed
    assert strip.label == "q: 3 errors, largest nan of 1, 2 beyond"
    assert strip.ticks["fp32"].count("M") == 1


def test_an_error_near_the_limit_reads_as_another_number() -> None:
    (strip,) = drawn(layer("q", 0.99999)).strips
    assert (strip.largest, strip.failed) == ("0.99999", False)
    (strip,) = drawn(layer("q", 1.00001)).strips
    assert (strip.largest, strip.failed) == ("1.00001", True)


def test_without_layers_or_a_limit_nothing_is_drawn() -> None:
    assert error_strips([], 1.0) is None
    assert error_strips([layer("q", 0.1)], math.inf) is None
    assert error_strips([layer("q", 0.1)], 0.0) is None


@given(st.lists(st.floats(), min_size=1), st.floats(min_value=0, exclude_min=True, allow_infinity=False))
def test_any_error_and_limit_stay_within_the_strip(ratios: list[float], limit: float) -> None:
    strips = drawn(*(layer("q", ratio, n) for n, ratio in enumerate(ratios)), limit=limit)
    (strip,) = strips.strips
    places = [float(place.split()[0]) for place in strip.ticks["fp32"].split("M")[1:]]
    assert all(0 <= place <= 930 for place in places)
    assert 4 <= strips.limit <= 93
    assert all(4 <= at <= 93 for at, _ in strips.ticks)
    assert strip.failed == any(not ratio <= limit for ratio in ratios)
