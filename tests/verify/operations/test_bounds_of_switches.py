"""Bounds of what models do beyond Llama, against float32 and float64: scales, divisors, caps, and norms of 1 + w."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from helpers import float32, roundings
from helpers.attacks import doubles, in_bfloat16, use
from helpers.fast_functions import tangents
from helpers.float32 import F, Row
from helpers.roundings import SLACK, TAU, Rounded, U, gamma
from hypothesis import example, given, target
from hypothesis import strategies as st

from reader_c import Arithmetic
from verify.operations import bounds, switch_bounds

SEEDS = st.integers(0, 2**32 - 1)
ARITHMETICS: tuple[Arithmetic, ...] = ("mirror", "fast")
# Of these, the first is a float32 number.
CONSTANTS = st.sampled_from([0.5, 0.1, 1.0009765625, 3.3, 25.298221281347036, 1e-3])


def numbers(seed: int, exponent: int, count: int = 200) -> Row:
    return (np.random.default_rng(seed).standard_normal(count) * 2.0**exponent).astype(F)


# ---- scales ----


def use_of_scaled(out: Row, x: Row, scale: float) -> float:
    exact = x.astype(np.float64) * scale
    return use(out, exact, switch_bounds.scaled(doubles(exact), scale))


@given(SEEDS, st.integers(-150, 30), CONSTANTS | st.floats(0.01, 60))
def test_scaled_numbers_lie_within_their_bound(seed: int, exponent: int, scale: float) -> None:
    x = numbers(seed, exponent)
    used = use_of_scaled(x * F(scale), x, scale)
    target(used)
    assert used <= 1


def test_a_scale_uses_nearly_all_of_its_bound_and_a_coarser_one_breaks_it() -> None:
    x = numbers(0, 0, 20_000)
    # a constant of float32 has no error, so that one rounding is all there is
    for scale, least in ((1.0009765625, 0.98), (0.1, 0.95), (25.298221281347036, 0.98)):
        assert least < use_of_scaled(x * F(scale), x, scale) <= 1
        assert use_of_scaled(in_bfloat16(x * F(scale)), x, scale) > 10
    rounded = F(torch.tensor(25.298221281347036).bfloat16().item())
    assert use_of_scaled(x * rounded, x, 25.298221281347036) > 1000


def test_the_error_of_a_constant_is_its_own() -> None:
    assert switch_bounds.of_constant(0.5) == switch_bounds.of_constant(50.0) == 0
    for constant in (0.1, 3.3, 1e-3):
        assert switch_bounds.of_constant(constant) == abs(float(F(constant)) / constant - 1) / U
        assert 0 < switch_bounds.of_constant(constant) <= 1
    expected = (gamma(1 + switch_bounds.of_constant(0.1)) * 5.0 + TAU / 2) * SLACK
    assert float(switch_bounds.scaled(doubles(5.0), 0.1)) == pytest.approx(expected, rel=1e-12, abs=0)
    assert float(switch_bounds.divided(doubles(5.0), 1.0)) == 0
    assert float(switch_bounds.divided(doubles(5.0), 0.1)) == float(switch_bounds.scaled(doubles(5.0), 0.1))


def test_where_nothing_is_left_a_bound_is_what_underflow_loses() -> None:
    zero, half = doubles([0.0]), TAU / 2
    growth = gamma(8 + switch_bounds.of_constant(0.1))
    expected = {
        half: (switch_bounds.scaled(zero, 0.1), switch_bounds.query_scaled(zero, doubles([2.0]))),
        half * (0.7 * (1 + growth) + 1): (switch_bounds.scaled_score(zero, 7, 0.1),),
    }
    for arithmetic in ARITHMETICS:
        moved = 3 * (1 + 2 * switch_bounds.TANH_ULPS[arithmetic]) + 1
        expected[half * moved] = (switch_bounds.capped(zero, zero, 3.0, arithmetic),)
        expected[half * (moved + 1)] = (switch_bounds.capped(zero, zero, 3.0, arithmetic, 0.1),)
    for lost, found in expected.items():
        assert [float(one) for one in found] == pytest.approx([lost * SLACK] * len(found), rel=1e-12, abs=0)
    shares = switch_bounds.normalized(doubles([0.5, 0.0]), doubles([0.0, 0.0]), 1)
    assert float(shares[1]) == pytest.approx(half * SLACK, rel=1e-12, abs=0)


@given(SEEDS, st.integers(-150, 30), CONSTANTS)
def test_divided_numbers_lie_within_their_bound(seed: int, exponent: int, divisor: float) -> None:
    x = numbers(seed, exponent)
    exact = x.astype(np.float64) / divisor
    used = use(x / F(divisor), exact, switch_bounds.divided(doubles(exact), divisor))
    target(used)
    assert used <= 1


@given(SEEDS, st.integers(-150, 30), st.integers(-150, 30), CONSTANTS)
def test_sums_with_a_scaled_number_lie_within_their_bound(seed: int, low: int, high: int, scale: float) -> None:
    x, y = numbers(seed, low), numbers(seed + 1, high)
    part = y.astype(np.float64) * scale
    exact = x.astype(np.float64) + part
    bound = bounds.biased(switch_bounds.scaled(doubles(part), scale), doubles(exact))
    used = use(x + y * F(scale), exact, bound)
    target(used)
    assert used <= 1


# ---- the query scale ----


@given(SEEDS, st.integers(-150, 20), st.floats(0.001, 5), st.integers(1, 9))
def test_scaled_queries_lie_within_their_bound(seed: int, exponent: int, beta: float, positions: int) -> None:
    x = numbers(seed, exponent, 60)
    factor = 1 + beta * np.log1p(np.arange(60) // positions)
    exact = x.astype(np.float64) * factor
    used = use(x * factor.astype(F), exact, switch_bounds.query_scaled(doubles(exact), doubles(factor)))
    target(used)
    assert used <= 1


def test_scaled_queries_use_nearly_all_of_their_bound() -> None:
    # just above a power of two, a rounding is largest beside the number
    x = np.random.default_rng(0).uniform(1, 1.02, 200_000).astype(F)
    factor = 1 + 0.001 * np.log1p(np.arange(200_000) // 7)
    exact = x.astype(np.float64) * factor
    bound = switch_bounds.query_scaled(doubles(exact), doubles(factor))
    assert 0.95 < use(x * factor.astype(F), exact, bound) <= 1
    # a factor of 1 leaves no room
    assert not bound[:7].any()
    assert use(in_bfloat16(x * factor.astype(F))[7:], exact[7:], bound[7:]) > 10


# ---- scores ----


@given(SEEDS, st.integers(1, 80), st.integers(-80, 8), CONSTANTS)
def test_scaled_scores_lie_within_their_bound(seed: int, size: int, exponent: int, scale: float) -> None:
    q, k = numbers(seed, exponent, size), numbers(seed + 1, exponent, size)
    products = q.astype(np.float64) * k.astype(np.float64) * scale
    bound = switch_bounds.scaled_score(doubles(math.fsum(np.abs(products).tolist())), size, scale)
    for total in (float32.dot_mirror(q, k), float32.dot_chain(q, k)):
        assert use(np.array([total * F(scale)]), np.array([math.fsum(products.tolist())]), bound) <= 1


def test_a_score_that_stagnates_uses_nearly_all_of_its_bound() -> None:
    q = np.full(20_000, 2.0**-12, F)
    q[0], scale = 1, 0.1
    exact = math.fsum((q.astype(np.float64) ** 2).tolist()) * scale
    bound = switch_bounds.scaled_score(doubles(exact), len(q), scale)
    assert 0.99 < use(np.array([float32.dot_mirror(q, q) * F(scale)]), np.array([exact]), bound) <= 1


# ---- caps ----


def capped(x: Row, cap: float, arithmetic: Arithmetic, divisor: float = 1.0) -> Row:
    x = x if divisor == 1 else x / F(divisor)
    share = x / F(cap)
    return F(cap) * (float32.call("tanhf", share) if arithmetic == "mirror" else tangents("scalar")(share))


def use_of_cap(out: Row, x: Row, cap: float, arithmetic: Arithmetic, divisor: float = 1.0) -> float:
    raw = x.astype(np.float64) / divisor
    exact = cap * np.tanh(raw / cap)
    return use(out, exact, switch_bounds.capped(doubles(exact), doubles(raw), cap, arithmetic, divisor))


@given(
    SEEDS,
    st.integers(-150, 12),
    st.sampled_from([0.7, 1.0, 30.0, 50.0, 33.3]),
    st.sampled_from(ARITHMETICS),
    CONSTANTS | st.just(1.0),
)
@example(0, -149, 50.0, "mirror", 1.0)
@example(0, -149, 50.0, "fast", 3.3)
def test_capped_numbers_lie_within_their_bound(
    seed: int, exponent: int, cap: float, arithmetic: Arithmetic, divisor: float
) -> None:
    x = numbers(seed, exponent)
    with np.errstate(over="ignore"):
        used = use_of_cap(capped(x, cap, arithmetic, divisor), x, cap, arithmetic, divisor)
    target(used)
    assert used <= 1


@pytest.mark.parametrize(("arithmetic", "least"), [("mirror", 0.5), ("fast", 0.54)])
def test_a_cap_uses_most_of_its_bound_and_other_ones_break_it(arithmetic: Arithmetic, least: float) -> None:
    """A unit of tanh counts as 2 u, which it is only just above a power of two."""
    x = (np.random.default_rng(0).uniform(0.01, 1.5, 300_000) * 33.3).astype(F)
    right = capped(x, 33.3, arithmetic)
    assert least < use_of_cap(right, x, 33.3, arithmetic) <= 1
    assert use_of_cap(in_bfloat16(right), x, 33.3, arithmetic) > 10
    assert use_of_cap(capped(x, 33.31, arithmetic), x, 33.3, arithmetic) > 10
    assert use_of_cap(x, x, 33.3, arithmetic) > 1000


def test_a_number_far_beyond_its_cap_has_no_more_error_than_the_cap() -> None:
    for cap in (50.0, 33.3):
        found = switch_bounds.capped(doubles(cap), doubles(1e30), cap, "mirror")
        units = 2 * 3 + 1 + switch_bounds.of_constant(cap)
        assert float(found) == pytest.approx(gamma(units) * cap * SLACK, rel=1e-6)
    assert not torch.isfinite(switch_bounds.capped(doubles(1.0), doubles(math.nan), 50.0, "mirror"))


@pytest.mark.parametrize(("arithmetic", "ulps"), [("mirror", 3), ("fast", 2.6)])
@pytest.mark.parametrize("raw", [0.01, 0.4, 1.5, 6.0])
@pytest.mark.parametrize(("cap", "divisor"), [(2.0, 1.0), (3.3, 1.0), (3.3, 0.1)])
def test_caps_count_the_roundings_one_by_one(
    arithmetic: Arithmetic, ulps: float, raw: float, cap: float, divisor: float
) -> None:
    def tangent(x: float) -> float:
        return cap * math.tanh(x / cap)

    step = 1e-6
    # by how much each relative error of the number, and of the cap, moves the result
    of_raw = (tangent(raw * (1 + step)) - tangent(raw * (1 - step))) / (2 * step) / tangent(raw)
    larger, smaller = (cap * sign * math.tanh(raw / (cap * sign)) for sign in (1 + step, 1 - step))
    of_cap = (larger - smaller) / (2 * step) / tangent(raw)
    before = 0.0 if divisor == 1 else Rounded(1.0).over(Rounded(1.0, switch_bounds.of_constant(divisor))).units
    units = of_raw * (before + 1) + of_cap * switch_bounds.of_constant(cap) + 2 * ulps + 1
    found = float(switch_bounds.capped(doubles(tangent(raw)), doubles(raw), cap, arithmetic, divisor))
    assert found / SLACK / tangent(raw) / U == pytest.approx(units, rel=1e-4)


# ---- what underflow may lose ----


@pytest.mark.parametrize("scale", [0.5, 0.1, 25.298221281347036])
def test_a_scaled_number_that_vanishes_may_be_half_a_step_off(scale: float) -> None:
    assert float(switch_bounds.scaled(doubles(0.0), scale)) == pytest.approx(TAU / 2 * SLACK, rel=1e-12, abs=0)
    found = switch_bounds.query_scaled(doubles([0.0, 3.0, 3.0]), doubles([scale, scale, 1.0]))
    expected = [TAU / 2 * SLACK, (gamma(2) * 3 + TAU / 2) * SLACK, 0.0]
    assert found.tolist() == pytest.approx(expected, rel=1e-12, abs=0)


@pytest.mark.parametrize(("size", "scale"), [(1, 0.1), (80, 0.1), (80, 0.5)])
def test_a_scaled_score_counts_its_products_and_what_each_may_lose(size: int, scale: float) -> None:
    growth = gamma(size + 1 + switch_bounds.of_constant(scale))
    lost = size * TAU / 2 * scale * (1 + growth) + TAU / 2
    for magnitude in (0.0, 2.0**-130, 3.0):
        found = float(switch_bounds.scaled_score(doubles(magnitude), size, scale))
        assert found == pytest.approx((growth * magnitude + lost) * SLACK, rel=1e-12, abs=0)


@pytest.mark.parametrize(("arithmetic", "ulps"), [("mirror", 3), ("fast", 2.6)])
@pytest.mark.parametrize("divisor", [1.0, 0.1])
def test_a_cap_of_nothing_may_lose_the_steps_of_quotient_tangent_and_product(
    arithmetic: Arithmetic, ulps: float, divisor: float
) -> None:
    lost = TAU / 2 * ((divisor != 1) + 3.3 * (1 + 2 * ulps) + 1)
    found = switch_bounds.capped(doubles(0.0), doubles(0.0), 3.3, arithmetic, divisor)
    assert float(found) == pytest.approx(lost * SLACK, rel=1e-12, abs=0)


# ---- norms of 1 + w ----


def use_of_norm(out: Row, x: Row, weight: Row, eps: np.float32) -> float:
    mean = math.fsum((x.astype(np.float64) ** 2).tolist()) / len(x)
    factor = 1 + weight.astype(np.float64)
    exact = factor * x.astype(np.float64) / math.sqrt(mean + float(eps))
    bound = bounds.rms_norm(doubles(exact), doubles(factor), doubles(mean), float(eps), len(x), plus_one=True)
    return use(out, exact, bound)


@given(SEEDS, st.integers(1, 300), st.integers(-149, 30), st.integers(-30, 3))
@example(0, 1, 0, 0)
def test_norms_of_one_more_lie_within_their_bound(seed: int, dim: int, exponent: int, size: int) -> None:
    x, weight = numbers(seed, exponent, dim), numbers(seed + 1, size, dim)
    used = use_of_norm(float32.rms_norm(x, F(1) + weight, F(1e-5)), x, weight, F(1e-5))
    target(used)
    assert used <= 1


def test_a_norm_without_the_one_or_with_two_breaks_the_bound() -> None:
    x, weight = numbers(0, 0, 64), numbers(1, -3, 64)
    assert use_of_norm(float32.rms_norm(x, F(1) + weight, F(1e-5)), x, weight, F(1e-5)) < 0.5
    for wrong in (weight, F(2) + weight):
        assert use_of_norm(float32.rms_norm(x, wrong, F(1e-5)), x, weight, F(1e-5)) > 1000


@pytest.mark.parametrize("count", [1, 2, 64])
def test_norms_of_one_more_count_one_rounding_more(count: int) -> None:
    eps = 2.0**-60
    second = roundings.rms_norm(3.0, 2.0**-40, count, 0.7, eps)
    found = bounds.rms_norm(doubles(second.value), doubles(0.7), doubles(9.0 / count), eps, count, plus_one=True)
    assert float(found) / SLACK / second.value / U == pytest.approx(second.units + 1, rel=1e-4)


# ---- windows ----


def test_softmax_of_a_window_is_that_of_a_row_cut_on_both_sides() -> None:
    scores = torch.randn(3, 5, 5, dtype=torch.float64)
    seen = torch.ones(5, 5, dtype=torch.bool).tril() & torch.ones(5, 5, dtype=torch.bool).triu(-1)
    masked = torch.where(seen, scores, -torch.inf)
    together = bounds.softmax(masked.softmax(dim=-1), scores, seen.sum(-1, keepdim=True), seen)
    for row in range(5):
        first = max(0, row - 1)
        alone = scores[:, row, first : row + 1]
        expected = bounds.softmax(alone.softmax(dim=-1), alone, row + 1 - first)
        torch.testing.assert_close(together[:, row, first : row + 1], expected, rtol=1e-12, atol=0)
