"""Comparisons without a tolerance ask for equal numbers, and a replay says that it is one."""

from __future__ import annotations

import torch

from verify.operations.bounds import utilisation
from verify.operations.comparison import replayed, same


def test_equal_numbers_are_within_a_bound_of_zero_and_no_others_are() -> None:
    out = torch.tensor([[1.0, 2.0]])
    found = same("wo", out, torch.tensor([1.0, 2.0 + 2**-22]), tensor="w")
    assert found.exact.shape == out.shape
    assert utilisation((found.out - found.exact).abs(), found.bound).tolist() == [[0.0, float("inf")]]
    assert (found.operation, found.tensor, found.first, found.replay) == ("wo", "w", 0, False)


def test_a_replay_knows_where_its_columns_begin() -> None:
    found = replayed("wo", torch.ones(1, 2), torch.ones(1, 2), first=7, tensor="w")
    assert (found.first, found.replay, found.tensor) == (7, True, "w")


def test_columns_begin_at_the_first_unless_said() -> None:
    found = replayed("wo", torch.ones(1, 2), torch.ones(1, 2))
    assert (found.first, found.tensor) == (0, "")
