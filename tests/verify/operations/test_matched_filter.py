"""One wrong weight is found from what its product is off by."""

from __future__ import annotations

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
