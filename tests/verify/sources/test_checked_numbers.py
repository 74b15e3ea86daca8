"""Numbers of a config, at both sides of their limits; errors in one line; numbers that are not finite."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import torch

from verify.errors import CannotJudgeError, NotFiniteError
from verify.sources.checked_numbers import count, positive
from verify.sources.finite import expect_finite
from verify.sources.refusal import refusal

WHERE = Path("config.json")


@pytest.mark.parametrize("value", [0, -1, 2**31, True, 1.0, "1", None])
def test_a_count_is_a_positive_integer_of_32_bits(value: Any) -> None:
    assert [count(WHERE, "n", fits) for fits in (1, 2, 2**31 - 1)] == [1, 2, 2**31 - 1]
    with pytest.raises(CannotJudgeError) as caught:
        count(WHERE, "n", value)
    assert str(caught.value) == f"config.json: n: expected a positive integer below 2^31, found {value}"


@pytest.mark.parametrize("value", [0, 0.0, -1e-9, 1e300, math.inf, math.nan, True, "1", None, 10**400])
def test_a_number_is_positive_and_finite(value: Any) -> None:
    for fits in (5e-324, 1, 0.5, 9.99e299):
        found = positive(WHERE, "x", fits)
        assert (found, type(found)) == (fits, float)
    with pytest.raises(CannotJudgeError, match=r"^config\.json: x: expected a positive finite number, found "):
        positive(WHERE, "x", value)


def test_an_error_is_one_line_and_what_was_found_is_cut() -> None:
    assert str(refusal("a", "b", "c", "d\n  e")) == "a: b: expected c, found d e"
    assert str(refusal("a", "b", "c", "d", "do this")) == "a: b: expected c, found d: do this"
    assert str(refusal("a", "b", "c", "x" * 201)) == f"a: b: expected c, found {'x' * 200}"


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16, torch.float64])
def test_a_number_that_is_not_finite_is_named_by_its_first_place(dtype: torch.dtype) -> None:
    for bad in (math.nan, math.inf, -math.inf):
        matrix = torch.ones(3, 5, dtype=dtype)
        expect_finite("a file", "w", matrix)
        matrix[2, 4] = bad
        matrix[1, 3] = bad
        with pytest.raises(NotFiniteError) as caught:
            expect_finite("a file", "w", matrix)
        assert str(caught.value) == f"a file: w: expected finite numbers, found {bad} at row 1, column 3"
        row = torch.ones(4, dtype=dtype)
        row[3] = bad
        with pytest.raises(NotFiniteError) as caught:
            expect_finite("a file", "w", row)
        assert str(caught.value) == f"a file: w: expected finite numbers, found {bad} at element 3"
    expect_finite("a file", "w", torch.full((4, 4), torch.finfo(dtype).max, dtype=dtype))
    opposite = torch.tensor([math.inf, -math.inf], dtype=dtype)
    with pytest.raises(NotFiniteError):
        expect_finite("a file", "w", opposite)
