"""A comparison's worst element is found block by block, with the result of whole tensors."""

from __future__ import annotations

import math

import pytest
import torch

from verify.operations import bounds, comparison
from verify.operations.comparison import Comparison, same, worst_element

SHAPES = [(1, 1, 1), (2, 5, 7), (3, 4, 2, 3), (2, 3)]
ODD = ["", "out nan", "out inf", "exact nan", "bound 0", "bound inf", "bound nan", "equal", "ties"]


def by_whole_tensors(judged: Comparison) -> tuple[float, float, int]:
    error = (judged.out.double() - judged.exact).abs()
    ratio = bounds.utilisation(error, judged.bound)
    at = int(ratio.argmax())
    return float(error.nan_to_num(nan=math.inf, posinf=math.inf).max()), float(ratio.flatten()[at]), at


def drawn(shape: tuple[int, ...], seed: int) -> Comparison:
    generator = torch.Generator().manual_seed(seed)
    exact = torch.randn(shape, generator=generator, dtype=torch.float64)
    out = exact.float()
    bound = torch.rand(shape, generator=generator, dtype=torch.float64) * 1e-7 + 1e-9
    return Comparison("q", out, exact, bound)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("block", [1, 6, 1 << 16])
@pytest.mark.parametrize(
    "odd", ["", "out nan", "out inf", "exact nan", "bound 0", "bound inf", "bound nan", "equal", "ties"]
)
def test_blocks_find_what_whole_tensors_have(
    monkeypatch: pytest.MonkeyPatch, shape: tuple[int, ...], block: int, odd: str
) -> None:
    monkeypatch.setattr(comparison, "_BLOCK", block)
    for seed in range(5):
        judged = drawn(shape, seed)
        side, _, value = odd.partition(" ")
        if side == "equal":
            judged.out.copy_(judged.exact)
            judged.exact.copy_(judged.out)
        elif side == "ties":
            judged.exact.zero_()
            judged.out.fill_(1e-9)
            judged.bound.fill_(1e-8)
        elif side:
            getattr(judged, side).view(-1)[seed % judged.out.numel()] = float(value)
        assert worst_element(judged) == by_whole_tensors(judged)


@pytest.mark.parametrize("odd", [0.0, 1.0, math.nan, math.inf])
def test_equal_numbers_have_no_error_and_others_are_infinitely_wrong(odd: float) -> None:
    exact = torch.arange(12.0).view(1, 3, 4)
    out = exact.clone()
    out[0, 1, 2] += odd
    found = worst_element(same("q", out, exact))
    assert found == by_whole_tensors(same("q", out, exact))
    assert found[1:] == ((math.inf, 6) if odd else (0.0, 0))


def test_the_first_of_equal_elements_is_named_in_the_order_of_positions() -> None:
    exact = torch.zeros(2, 3, 4, dtype=torch.float64)
    out = torch.zeros(2, 3, 4)
    out[0, 2, 1] = out[1, 0, 0] = 1.0
    assert worst_element(Comparison("q", out, exact, torch.ones_like(exact)))[2] == 9
