"""Bounds of a mixture of experts, against float32 and float64: shares divided by their sum, and the weighted sum."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from helpers.attacks import doubles, in_bfloat16, use
from helpers.float32 import F, Row, softmax, sum_in_order
from helpers.roundings import LIBM, SLACK, TAU, U, gamma
from hypothesis import given, target
from hypothesis import strategies as st

from verify.operations import bounds, switch_bounds

SEEDS = st.integers(0, 2**32 - 1)


def of_float32(logits: Row, chosen: int) -> tuple[Row, np.ndarray, torch.Tensor]:
    """Return the first shares as an engine divides them by their sum, exactly, and the bound."""
    found = softmax(logits)[:chosen]
    found = found / sum_in_order(found)
    wide = doubles(logits)
    exact = torch.softmax(wide, -1)
    bound = bounds.of_one_power(exact, wide)
    kept = torch.arange(len(logits)) < chosen
    exact, bound = (torch.where(kept, side, 0.0) for side in (exact, bound))
    bound = switch_bounds.normalized(exact, bound, chosen)
    return found, (exact / exact.sum()).numpy()[:chosen], bound[:chosen]


@given(SEEDS, st.integers(1, 40), st.integers(1, 300), st.floats(0.0, 30.0))
def test_normalized_shares_lie_within_their_bound(seed: int, chosen: int, others: int, spread: float) -> None:
    logits = (np.random.default_rng(seed).standard_normal(chosen + others) * spread).astype(F)
    used = use(*of_float32(np.sort(logits)[::-1].copy(), chosen))
    target(used)
    assert used <= 1


def test_normalized_shares_use_most_of_their_bound_and_a_coarser_rounding_breaks_it() -> None:
    # of many equal shares beside a large one, most are lost from the sum
    logits = np.concatenate(([F(0)], np.full(20_000, -16.64, F)))
    found, exact, bound = of_float32(logits, len(logits))
    assert 0.95 < use(found, exact, bound) <= 1
    few = np.array([0.3, 0.1, -0.4, -2.0], F)
    found, exact, bound = of_float32(few, 2)
    assert use(found, exact, bound) <= 1
    assert use(in_bfloat16(found), exact, bound) > 100
    # shares of all experts, not divided
    assert use(softmax(few)[:2], exact, bound) > 10_000


def test_a_share_alone_has_the_errors_of_its_power_and_of_the_division() -> None:
    scores = doubles([0.0, -3.0, -500.0])
    shares = torch.softmax(scores, -1)
    found = bounds.of_one_power(shares, scores)
    for bound, share, depth in zip(found, shares, (0, 3, 200), strict=True):
        expected = gamma(depth + 2 * LIBM + 1) * float(share) + 2 * (LIBM + 1) * TAU
        assert float(bound) == pytest.approx(expected * SLACK, rel=1e-12, abs=0)
    assert torch.isnan(bounds.of_one_power(shares, doubles([0.0, np.nan, 1.0]))).all()


@pytest.mark.parametrize("chosen", [1, 2, 8])
def test_the_bound_counts_the_roundings_of_the_sum_and_of_the_division(chosen: int) -> None:
    shares = torch.full((chosen,), 0.1, dtype=torch.float64)
    found = switch_bounds.normalized(shares, shares * 3 * U, chosen)
    off = 3 * U + gamma(chosen - 1) * (1 + 3 * U)
    expected = (3 * U + off) / (1 - off) * (1 + U) + U
    for bound in found:
        assert float(bound) == pytest.approx((expected / chosen + TAU / 2) * SLACK, rel=1e-12, abs=0)


def test_large_errors_of_shares_grow_with_those_of_their_sum_in_each_row() -> None:
    shares = torch.tensor([[0.4, 0.2, 0.0], [0.1, 0.0, 0.7]], dtype=torch.float64)
    of_shares = torch.tensor([[0.1, 0.03, 0.0], [0.04, 0.0, 0.2]], dtype=torch.float64)
    found = switch_bounds.normalized(shares, of_shares, 2)
    for row, (own, of_own) in enumerate(zip(shares.tolist(), of_shares.tolist(), strict=True)):
        of_sum = sum(of_own) + gamma(1) * (sum(own) + sum(of_own))
        for column, (share, of_share) in enumerate(zip(own, of_own, strict=True)):
            exact = share / sum(own)
            moved = (of_share + exact * of_sum) / (sum(own) - of_sum)
            expected = (moved * (1 + U) + exact * U + TAU / 2) * SLACK
            assert float(found[row, column]) == pytest.approx(expected, rel=1e-12, abs=0)


def test_powers_are_bounded_by_the_largest_score_of_their_row() -> None:
    scores = doubles([[0.0, -3.0], [5.0, 7.0], [2.0, 2.0]])
    shares = torch.softmax(scores, -1)
    found = bounds.of_one_power(shares, scores)
    for place, depth in {(0, 0): 0, (0, 1): 3, (1, 0): 2, (1, 1): 0, (2, 0): 0, (2, 1): 0}.items():
        expected = gamma(depth + 2 * LIBM + 1) * float(shares[place]) + 2 * (LIBM + 1) * TAU
        assert float(found[place]) == pytest.approx(expected * SLACK, rel=1e-12, abs=0)


def test_shares_whose_sum_may_be_zero_have_no_bound() -> None:
    shares = torch.tensor([1e-45, 1e-45], dtype=torch.float64)
    assert (switch_bounds.normalized(shares, shares * 2, 2) == torch.inf).all()
    # at the very limit too, and for those that were not chosen
    shares = torch.tensor([0.5, 0.0], dtype=torch.float64)
    assert (switch_bounds.normalized(shares, shares, 1) == torch.inf).all()


@given(SEEDS, st.integers(1, 64), st.integers(-60, 20))
def test_weighted_sums_lie_within_the_bound_of_a_mixture(seed: int, chosen: int, exponent: int) -> None:
    rng = np.random.default_rng(seed)
    shares, parts = rng.uniform(0, 1, chosen).astype(F), (rng.standard_normal(chosen) * 2.0**exponent).astype(F)
    exact = shares.astype(np.float64) * parts.astype(np.float64)
    used = use(sum_in_order(shares * parts), exact.sum(), bounds.mixture(doubles(np.abs(exact).sum()), chosen))
    target(used)
    assert used <= 1
