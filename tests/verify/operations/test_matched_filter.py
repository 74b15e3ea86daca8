"""One wrong weight is found from what its product is off by."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from verify.operations.matched_filter import find_weight


@given(st.integers(0, 5), st.integers(0, 11), st.floats(0.01, 10), st.integers(0, 2**31))
def test_the_weight_and_by_how_much_it_is_off(row: int, column: int, delta: float, seed: int) -> None:
    inputs = torch.randn(20, 12, generator=torch.Generator().manual_seed(seed))
    residual = torch.zeros(20, 6, dtype=torch.float64)
    residual[:, row] = delta * inputs[:, column].double()
    found = find_weight(residual, residual.abs() / 1e-6, inputs)
    assert (found.row, found.column, found.rows) == (row, column, 1)
    assert abs(found.delta / delta - 1) < 1e-9
    assert abs(found.explained - 1) < 1e-9


def test_errors_of_many_weights_are_explained_by_none() -> None:
    inputs = torch.randn(200, 12, generator=torch.Generator().manual_seed(0))
    residual = torch.randn(200, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    found = find_weight(residual, residual.abs(), inputs)
    assert found.explained < 0.2
    assert found.rows == 3


def test_zero_inputs_and_numbers_that_are_not_finite_raise_nothing() -> None:
    residual = torch.full((4, 2), torch.nan, dtype=torch.float64)
    found = find_weight(residual, torch.full((4, 2), torch.inf), torch.zeros(4, 3))
    assert (found.delta, found.explained) == (0.0, 0.0)


def test_a_column_of_zeros_explains_nothing_and_small_inputs_explain_as_well_as_large_ones() -> None:
    inputs = torch.tensor([[0.0, 0.5, 0.25], [0.0, -0.25, 0.5]])
    residual = torch.tensor([[3 * 0.5 + 0.125], [3 * -0.25 - 0.125]], dtype=torch.float64)
    found = find_weight(residual, residual.abs() / 1e-3, inputs)
    likeness = 0.5 * float(residual[0]) - 0.25 * float(residual[1])
    assert (found.column, found.delta) == (1, likeness / 0.3125)
    assert found.explained == likeness**2 / 0.3125 / float(residual.square().sum())
    # small errors of small inputs: less than 1 in all
    tiny = find_weight(residual * 1e-3, residual.abs(), inputs)
    assert (tiny.column, tiny.delta) == (1, pytest.approx(found.delta * 1e-3))
    nothing = find_weight(residual * 0, residual.abs(), inputs)
    assert (nothing.column, nothing.delta, nothing.explained) == (0, 0.0, 0.0)


@pytest.mark.parametrize("odd", [math.nan, math.inf, -math.inf])
def test_a_number_that_is_not_finite_is_taken_for_right(odd: float) -> None:
    inputs = torch.tensor([[1.0, 0.0], [2.0, 1.0], [4.0, 0.0]])
    residual = torch.tensor([[1.0], [odd], [4.0]], dtype=torch.float64)
    found = find_weight(residual, torch.tensor([[2.0], [9.0], [8.0]]), inputs)
    assert (found.column, found.delta, found.explained) == (0, 17 / 21, 17 / 21)


def test_rows_beyond_their_bound_are_counted() -> None:
    beyond = torch.tensor([[0.5, 1.0, 1.001, 2.0, 3.0], [0.0, 1.0, 0.0, 0.0, 9.0]])
    found = find_weight(torch.ones(2, 5, dtype=torch.float64), beyond, torch.ones(2, 3))
    assert (found.row, found.rows) == (4, 3)
