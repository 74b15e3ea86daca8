"""Numbers as people read them."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from verify.report.words import beside, number


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


@given(st.data(), st.integers(1, 9999).map(lambda thousandths: thousandths / 1000))
def test_a_number_never_reads_as_a_limit_that_it_is_not(data: st.DataObject, limit: float) -> None:
    close = st.floats(limit * (1 - 1e-5), limit * (1 + 1e-5))
    value = data.draw(close | st.floats())
    text = beside(value, limit)
    assert (text == number(limit)) == (value == limit)
    assert float(text) == pytest.approx(value, rel=1e-3, nan_ok=True)
