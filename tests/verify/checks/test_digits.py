"""Numbers as people read them."""

from __future__ import annotations

import math
from fractions import Fraction

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from verify.checks.digits import apart, beside, counted, number, percentage


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


@pytest.mark.parametrize(
    ("share", "decimals", "text"),
    [
        (1.0, 1, "100.0%"),
        (0.99999, 2, "99.999%"),
        (0.9999999, 1, "99.99999%"),
        (1.00001, 2, "100.001%"),
        (0.5, 1, "50.0%"),
        (0.0, 0, "0%"),
        (-0.25, 1, "-25.0%"),
        (math.inf, 1, "inf%"),
        (math.nan, 1, "nan%"),
    ],
)
def test_only_a_whole_reads_as_100_percent(share: float, decimals: int, text: str) -> None:
    assert percentage(share, decimals) == text


@given(st.floats(0, 2), st.integers(0, 3))
def test_no_share_but_one_reads_as_100_percent(share: float, decimals: int) -> None:
    if share == 1 or abs(share - 1) > 1e-15:
        assert (percentage(share, decimals) == f"{1:.{decimals}%}") == (share == 1)


def test_a_count_agrees_with_its_noun() -> None:
    assert [counted(n, "row") for n in (0, 1, 2)] == ["0 rows", "1 row", "2 rows"]
    assert counted(2, "index", "indices") == "2 indices"


def test_fewer_digits_are_kept_where_they_suffice() -> None:
    assert [beside(value, 1.0, digits=3) for value in (1.23456, 1.0004, 0.9996)] == ["1.23", "1.0004", "0.9996"]
    assert (number(1.23456, digits=2), number(None)) == ("1.2", "-")


def test_all_17_digits_are_used_where_two_numbers_are_neighbours() -> None:
    assert beside(math.nextafter(0.3, 1), 0.3) == "0.30000000000000004"


def test_four_digits_are_the_usual() -> None:
    assert (number(1.23456), beside(1.23456, 2.0)) == ("1.235", "1.235")


@given(st.floats(allow_nan=False), st.floats(allow_nan=False))
def test_two_numbers_apart_have_as_many_digits_as_it_takes_and_keep_their_order(first: float, second: float) -> None:
    shown = apart(first, second)
    assert (shown[0] == shown[1]) == (first == second)
    assert (float(shown[0]) < float(shown[1])) == (first < second)


def test_two_numbers_that_four_digits_tell_apart_have_four() -> None:
    assert apart(8.0, 8.001) == ("8", "8.001")
    assert apart(8.0, 8.00001) == ("8", "8.00001")
    assert apart(1.23456, 1.23456) == ("1.235", "1.235")


def test_neighbours_are_told_apart_by_17_digits() -> None:
    assert apart(0.3, math.nextafter(0.3, 1)) == ("0.29999999999999999", "0.30000000000000004")
