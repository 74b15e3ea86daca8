"""Everything that is drawn has its place within the plot, for any numbers."""

from __future__ import annotations

import math

import pytest
from helpers.reports import METRICS, window
from hypothesis import example, given
from hypothesis import strategies as st

from verify.checks.baseline import BaselineComparison
from verify.report.plots import LogScale, Quantity, intervals, log_scale, position_plots, signed_bar


@given(st.lists(st.floats(min_value=0, allow_nan=False), min_size=1), st.floats(min_value=0, max_value=1e9))
def test_a_larger_value_never_stands_lower(values: list[float], limit: float) -> None:
    scale = log_scale(values, limit)
    places = [scale.at(value) for value in sorted(values)]
    assert places == sorted(places)
    assert all(0 <= place <= 100 for place in places)


def test_a_decade_is_everywhere_as_high() -> None:
    assert [LogScale(-4, 0).at(10.0**power) for power in range(-4, 1)] == [0, 25, 50, 75, 100]


LARGEST = 1.7976931348623157e308


@example([LARGEST], LARGEST)
@example([1e308, 1e-308], 1e308)
@example([5e-324], 0.0)
@given(st.lists(st.floats(min_value=0), max_size=5), st.floats(min_value=0))
def test_any_scale_has_ticks_within_the_plot_and_knows_what_it_reaches(values: list[float], limit: float) -> None:
    scale = log_scale(values, limit)
    assert all(0 <= at <= 100 for at, _ in scale.ticks)
    assert [at for at, _ in scale.ticks] == sorted(at for at, _ in scale.ticks)
    assert all(scale.reaches(value) for value in values if 0 < value < math.inf)
    assert not scale.reaches(0.0)


def test_a_limit_is_drawn_where_the_scale_reaches_it() -> None:
    assert log_scale([0.5], 3.0) == LogScale(-1, 1)
    assert log_scale([0.5], 30.0) == LogScale(-1, 0)
    assert [log_scale([0.5], limit).reaches(limit) for limit in (3.0, 30.0, 0.9)] == [True, False, True]
    assert not LogScale(-1, 309).reaches(math.inf)


def test_windows_of_one_origin_share_a_plot_with_a_band_and_marks() -> None:
    windows = [window(0, "text"), window(1, "text"), window(0, "text", "q8"), window(2, "random")]
    quantities = [Quantity("kl", "KL in nats", 0.01), Quantity("logit_error", "largest logit error", 30.0)]
    (text, (kl, error)), (random, _) = position_plots(windows, {"fp32": METRICS}, quantities)
    assert (text, random) == ("text, 2 windows", "random, 1 window")
    assert [band.activations for band in kl.bands] == ["fp32", "q8"]
    assert kl.summary == "KL in nats at 3 positions of text, 2 windows: median 0.002, largest 0.02"
    assert [(mark.left, mark.label) for mark in kl.marks] == [(100.0, "window 0, position 2: KL 0.02")]
    assert kl.limit is not None
    assert (error.limit, error.limit_text) == (None, "limit 30")


def compared(**changes: object) -> BaselineComparison:
    fields = {
        "metric": "kl_mean",
        "activations": "fp32",
        "origin": "text",
        "windows": 3,
        "baseline": 1.0,
        "found": 2.0,
        "difference": 1.0,
        "interval": (0.5, 2.0),
        "limit": 0.25,
    }
    return BaselineComparison(**{**fields, **changes})  # type: ignore[arg-type]


def test_intervals_of_one_metric_share_a_scale_in_their_order() -> None:
    one, other = intervals([compared(), compared(interval=(-4.0, -1.0), difference=-2.0)])
    assert one.zero == other.zero
    assert 0 < other.low < other.mean < other.zero < one.limit < one.low < one.mean < one.low + one.width < 100
    assert one.drawn


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, LARGEST, -LARGEST])
def test_an_interval_that_is_not_finite_or_is_huge_stays_in_its_frame(value: float) -> None:
    (found,) = intervals([compared(difference=value, interval=(-LARGEST, LARGEST))])
    assert found.drawn == math.isfinite(value)
    assert all(0 <= at <= 100 for at in (found.zero, found.limit, found.mean, found.low, found.low + found.width))


@pytest.mark.parametrize(
    ("value", "most", "bar"),
    [
        (1.0, 2.0, (50.0, 25.0)),
        (-1.0, 2.0, (25.0, 25.0)),
        (0.0, 0.0, (50.0, 0.0)),
        (math.nan, 1.0, (50.0, 0.0)),
        (math.inf, 1.0, (50.0, 50.0)),
        (-LARGEST / 2, LARGEST, (25.0, 25.0)),
    ],
)
def test_a_signed_bar_goes_from_the_middle_to_its_side(value: float, most: float, bar: tuple[float, float]) -> None:
    found = signed_bar(value, most)
    assert (found.left, found.width) == bar
