"""Numbers as people read them."""

from __future__ import annotations

import math
from fractions import Fraction

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from verify.checks.digits import beside, number


@pytest.mark.parametrize(
    ("value", "limit", "text"),
    [
        (0.99998, 1.0, "0.99998"),
        (1.0000001, 1.0, "1.0000001"),
        (1.0, 1.0, "1"),
        (0.5, 1.0, "0.5"),
        (0.0, 0.0, "0"),
        (math.inf, 10.0, "inf"),
        (math.nan, 10.0, "nan"),
        (None, 10.0, "-"),
        (3.0, None, "3"),
    ],
)
def test_a_number_beside_its_limit_is_told_apart_from_it(value: float | None, limit: float | None, text: str) -> None:
    assert beside(value, limit) == text


LIMITS = st.integers(1, 9999).map(lambda thousandths: thousandths / 1000)


def values_beside(limit: float) -> st.SearchStrategy[tuple[float, float]]:
    close = st.floats(limit * (1 - 1e-5), limit * (1 + 1e-5))
    return st.tuples(close | st.floats(), st.just(limit))


@given(LIMITS.flatmap(values_beside))
@example((1.7975000000000001e308, 0.001))  # to four digits it is more than any float
def test_a_number_never_reads_as_a_limit_that_it_is_not(pair: tuple[float, float]) -> None:
    value, limit = pair
    text = beside(value, limit)
    assert (text == number(limit)) == (value == limit)
    if math.isfinite(value):
        assert abs(Fraction(text) - Fraction(value)) <= abs(Fraction(value)) / 1000
    else:
        assert text == str(value)
