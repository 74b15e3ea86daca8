"""Bars show how much of a limit is used, and never say 100 % of what is less."""

from __future__ import annotations

import dataclasses
import math

import pytest
from helpers.reports import METRICS, passing
from hypothesis import given
from hypothesis import strategies as st

from verify.checks.result import exact, skipped, within
from verify.report.budgets import percent, use_of, uses_of_format


@pytest.mark.parametrize(
    ("observed", "limit", "bar"),
    [
        (0.5, 1.0, ("0.5", "1", 50.0, "50 %", "")),
        (0.99999, 1.0, ("0.99999", "1", 100.0, "99.999 %", "")),
        (0.9996, 1.0, ("0.9996", "1", 99.96, "99.96 %", "")),
        (1.0, 1.0, ("1", "1", 100.0, "100 %", "")),
        (1.00001, 1.0, ("1.00001", "1", 100.0, "100 %", "1.00001 times the limit")),
        (25.0, 10.0, ("25", "10", 100.0, "100 %", "2.5 times the limit")),
        (math.inf, 10.0, ("inf", "10", 100.0, "100 %", "beyond any limit")),
        (0.0, 10.0, ("0", "10", 0.0, "0 %", "")),
    ],
)
def test_numbers_and_bar_agree(observed: float, limit: float, bar: tuple[str, str, float, str, str]) -> None:
    use = use_of(within("execution", "statistical", observed, limit, "x"))
    assert use is not None
    assert (use.observed, use.limit, use.percent, use.share, use.beyond) == bar
    assert use.fine == (observed <= limit)


def test_what_has_no_limit_or_no_number_has_no_bar() -> None:
    assert use_of(exact("file", 0, "x")) is None
    assert use_of(skipped("execution", "statistical", "x")) is None


def test_each_limit_of_the_policy_has_a_bar_and_a_ratio_of_one_is_free() -> None:
    uses = list(uses_of_format(dataclasses.replace(METRICS, perplexity_file=8.0), passing().policy.quantization))
    assert [use.label for use in uses] == [
        "mean KL, nats",
        "largest KL, nats",
        "top-1 changed",
        "largest logit error",
        "perplexity ratio",
    ]
    assert (uses[-1].percent, uses[-1].share) == (0.0, "0 %")
    assert (uses[0].interval, uses[1].interval) == ("95 %: 0.0005 to 0.002", "")


@given(st.none() | st.floats(), st.none() | st.floats())
def test_any_share_fits_into_its_bar(part: float | None, whole: float | None) -> None:
    assert 0 <= percent(part, whole) <= 100
