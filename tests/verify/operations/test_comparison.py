"""Comparisons without a tolerance ask for equal numbers, a replay says that it is one, and the worst element is the
first of all."""

from __future__ import annotations

import math

import pytest
import torch

from verify.operations.bounds import utilisation
from verify.operations.comparison import Comparison, replayed, rows_in_cache, same, worst_element


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


# ---- blocks ----


@pytest.mark.parametrize(
    ("shape", "starts"),
    [((10, 1 << 14), [0, 4, 8]), ((10, 3, 5000), [0, 4, 8]), ((3, 40_000), [0, 1, 2]), ((3, 70_000), [0, 1, 2])],
)
def test_rows_in_a_cache_are_at_most_half_a_mebibyte_of_doubles(shape: tuple[int, ...], starts: list[int]) -> None:
    rows = list(rows_in_cache(torch.empty(1).expand(shape)))
    step = starts[1]
    assert [(one.start, one.stop) for one in rows] == [(start, start + step) for start in starts]


def test_rows_of_one_element_and_of_none_fit_in_a_cache_too() -> None:
    assert [one.stop for one in rows_in_cache(torch.empty(1).expand(1 << 17, 1))] == [1 << 16, 1 << 17]
    assert [one.stop for one in rows_in_cache(torch.empty(3, 0))] == [1 << 16]


def compared(out: torch.Tensor, bound: torch.Tensor | None = None) -> Comparison:
    wide = out.double()
    return Comparison("q", wide, torch.zeros_like(wide), torch.ones_like(wide) if bound is None else bound)


def test_the_worst_element_of_all_blocks_is_found_at_its_place() -> None:
    """Two positions a block: the third and the fourth are of another one."""
    windows, length, width = 2, 4, 1 << 15
    for window, position, column in ((0, 1, 5), (0, 3, 7), (1, 0, 0), (1, 2, width - 1)):
        out = torch.zeros(windows, length, width)
        out[window, position, column] = -3.0
        largest, worst, at = worst_element(compared(out))
        assert (largest, worst) == (3.0, 3.0)
        assert at == (window * length + position) * width + column
    # of equal ones, the first, whichever block it is in
    out = torch.zeros(windows, length, width)
    out[1, 2, 3] = out[0, 3, 9] = 0.5
    assert worst_element(compared(out)) == (0.5, 0.5, 3 * width + 9)
    assert worst_element(compared(torch.zeros(windows, length, width))) == (0.0, 0.0, 0)


@pytest.mark.parametrize(
    ("errors", "limits", "expected"),
    [
        ((0.0, 0.0), (1.0, 1.0), (0.0, 0.0, 0)),
        ((0.0, 0.0), (0.0, 0.0), (0.0, 0.0, 0)),
        ((0.0, 0.0), (1.0, math.inf), (0.0, math.inf, 1)),
        ((0.0, 0.0), (1.0, math.nan), (0.0, math.inf, 1)),
        ((0.25, 0.5), (1.0, 4.0), (0.5, 0.25, 0)),
        ((0.25, 0.5), (1.0, math.inf), (0.5, math.inf, 1)),
        ((0.0, 0.5), (0.0, 0.25), (0.5, 2.0, 1)),
        ((0.25, 0.0), (0.0, 0.25), (0.25, math.inf, 0)),
        ((0.5, math.nan), (1.0, 1.0), (math.inf, math.inf, 1)),
        ((0.5, math.inf), (1.0, 1.0), (math.inf, math.inf, 1)),
    ],
)
def test_an_error_is_counted_in_its_bound(
    errors: tuple[float, float], limits: tuple[float, float], expected: tuple[float, float, int]
) -> None:
    out, bound = (torch.tensor(side, dtype=torch.float64).view(1, 1, 2) for side in (errors, limits))
    assert worst_element(compared(out, bound)) == expected


# ---- experts ----


def test_a_product_with_experts_knows_whose_weights_made_each_element() -> None:
    """Three windows of three positions, two slots of four rows; five inputs."""
    slots = torch.tensor([[[0, 3], [1, 2], [3, 4]], [[2, 3], [0, 1], [1, 3]], [[0, 4], [1, 4], [0, 2]]])
    out = torch.arange(72.0, dtype=torch.float64).view(3, 3, 8)
    exact, bound = out * 0.75, out * 0.5
    inputs = torch.arange(90.0).view(3, 3, 2, 5)
    found = Comparison("expert_up", out, exact, bound, inputs=inputs, tensor="experts.{expert}.w3", slots=slots)
    for window in range(3):
        for position in range(3):
            for column in range(8):
                expert = int(slots[window, position, column // 4])
                place = [window, position, column]
                assert found.tensor_at(place) == f"experts.{expert}.w3"
                residual, limit, read = found.of_tensor_at(place)
                mine = [(w, p, s) for w in range(3) for p in range(3) for s in range(2) if slots[w, p, s] == expert]
                parts = [out[w, p, 4 * s : 4 * s + 4] for w, p, s in mine]
                assert torch.equal(residual, torch.stack(parts) / 4)
                assert torch.equal(limit, torch.stack(parts) / 2)
                assert torch.equal(read, torch.stack([inputs[one] for one in mine]))


def test_other_products_have_one_tensor_for_all_tokens() -> None:
    out = torch.arange(24.0, dtype=torch.float64).view(2, 3, 4)
    inputs = torch.arange(30.0).view(2, 3, 5)
    found = Comparison("q", out, out * 0.75, out * 0.5, inputs=inputs, tensor="w")
    assert found.tensor_at([1, 2, 3]) == "w"
    residual, limit, read = found.of_tensor_at([1, 2, 3])
    assert torch.equal(residual, (out / 4).view(6, 4))
    assert torch.equal(limit, (out / 2).view(6, 4))
    assert torch.equal(read, inputs.view(6, 5))


# ---- equal numbers ----


def test_equal_numbers_are_one_tensor_as_recorded_and_others_are_wide() -> None:
    out = torch.ones(1, 2)
    alike = same("q", out, torch.ones(2))
    assert alike.exact is alike.out
    assert alike.out is out
    steps = torch.ones(1, 2, dtype=torch.int8)
    assert (alike := same("q", steps, torch.ones(2, dtype=torch.float64))).exact is alike.out
    for one in (out, steps):
        other = same("q", one, torch.tensor([1.0, 2.0]))
        assert (other.out.tolist(), other.exact.tolist()) == ([[1.0, 1.0]], [[1.0, 2.0]])
        assert (other.out.dtype, other.exact.dtype) == (torch.float64, torch.float64)


@pytest.mark.parametrize("value", [math.inf, -math.inf, math.nan])
def test_one_tensor_on_both_sides_has_no_error_unless_a_number_is_not_finite(value: float) -> None:
    for place in range(6):
        out, bound = torch.ones(1, 2, 3), torch.ones(1, 2, 3, dtype=torch.float64)
        assert worst_element(Comparison("q", out, out, bound)) == (0.0, 0.0, 0)
        bound.view(-1)[place] = abs(value)
        assert worst_element(Comparison("q", out, out, bound)) == (0.0, math.inf, place)
        out.view(-1)[place] = value
        assert worst_element(same("q", out, out)) == (math.inf, math.inf, place)


@pytest.mark.parametrize(("number", "ratio"), [(0.0, 0.0), (1.0, 0.0), (math.inf, math.inf), (math.nan, math.inf)])
def test_a_bound_that_is_one_number_everywhere_counts_as_that_number(number: float, ratio: float) -> None:
    """Along the axes that are expanded, a row may still hold several numbers."""
    out = torch.ones(2, 3, 4)
    everywhere = torch.tensor(number, dtype=torch.float64).expand(out.shape)
    assert worst_element(Comparison("q", out, out, everywhere)) == (0.0, ratio, 0)
    of_rows = torch.tensor([0.0, 0.0, number, 0.0], dtype=torch.float64).expand(out.shape)
    assert worst_element(Comparison("q", out, out, of_rows)) == (0.0, ratio, 2 if ratio else 0)
