"""Bounds of sums of products against float32 sums in the engine's order and exact ones."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from helpers import float32
from helpers.attacks import doubles, exact_dot, in_bfloat16, pair_of_rows, pairs_of_rows, use
from helpers.float32 import F, Row
from hypothesis import example, given, target
from hypothesis import strategies as st

from reader_c import Arithmetic
from verify.operations import bounds
from verify.oracle.expected import UNIT

DOT = {"mirror": float32.dot_mirror, "fast": float32.dot_fast}
ARITHMETICS = st.sampled_from(["mirror", "fast"])


def magnitude(a: Row, b: Row) -> torch.Tensor:
    return doubles(exact_dot(abs(a), abs(b)))


def use_of_product(rows: tuple[Row, Row], arithmetic: Arithmetic) -> float:
    a, b = rows
    bound = bounds.product(magnitude(a, b), len(a), arithmetic)
    return use(DOT[arithmetic](a, b), exact_dot(a, b), bound)


@given(pairs_of_rows(), ARITHMETICS)
@example(pair_of_rows("stagnant", 20_000, 0, 0), "mirror")
@example(pair_of_rows("stagnant lanes", 20_000, 0, 0), "fast")
@example(pair_of_rows("equal", 20_000, 0, 0), "mirror")
@example(pair_of_rows("equal", 20_000, 0, 0), "fast")
@example(pair_of_rows("cancelling", 20_000, 10, 0), "fast")
@example((np.full(3, 2.0**-75, F), np.full(3, 2.0**-75, F)), "mirror")
@example((np.full(3, 2.0**-75, F), np.full(3, 2.0**-75, F)), "fast")
def test_dot_products_lie_within_their_bound(rows: tuple[Row, Row], arithmetic: Arithmetic) -> None:
    used = use_of_product(rows, arithmetic)
    target(used, label=arithmetic)
    assert used <= 1


def test_a_sum_that_stagnates_uses_nearly_all_of_its_bound() -> None:
    """So no smaller factor would do. Subnormal products, each rounded off by half the smallest number, too."""
    assert use_of_product(pair_of_rows("stagnant", 20_000, 0, 0), "mirror") > 0.99
    assert use_of_product(pair_of_rows("stagnant lanes", 20_000, 0, 0), "fast") > 0.99
    tiny = np.full(300, 2.0**-75, F)
    assert use_of_product((tiny, tiny), "mirror") > 0.99


@pytest.mark.parametrize("arithmetic", ["mirror", "fast"])
def test_products_or_a_sum_in_bfloat16_break_the_bound(arithmetic: Arithmetic) -> None:
    a, b = pair_of_rows("equal", 64, 0, 0)
    bound, exact = bounds.product(magnitude(a, b), len(a), arithmetic), exact_dot(a, b)
    assert use(DOT[arithmetic](a, b), exact, bound) < 0.5
    assert use(DOT[arithmetic](in_bfloat16(a * b), np.ones(64, F)), exact, bound) > 1
    assert use(in_bfloat16(DOT[arithmetic](a, b)), exact, bound) > 1


@given(pairs_of_rows(64), st.floats(-1e3, 1e3, width=32), ARITHMETICS)
@example((np.array([1, 2.0**-24], F), np.array([1, 1], F)), 2.0**-24, "mirror")
def test_products_with_a_bias_lie_within_their_bound(
    rows: tuple[Row, Row], bias: float, arithmetic: Arithmetic
) -> None:
    a, b = rows
    out = DOT[arithmetic](a, b) + F(bias)
    exact = math.fsum([*(a.astype(np.float64) * b.astype(np.float64)).tolist(), bias])
    bound = bounds.biased(bounds.product(magnitude(a, b), len(a), arithmetic), doubles(exact))
    used = use(out, exact, bound)
    target(used)
    assert used <= 1


def test_a_bias_costs_the_rounding_of_its_sum() -> None:
    """Without it, a bias far larger than the product would break the bound."""
    of_product = bounds.product(doubles(2.0**-24), 1, "mirror")
    exact = doubles(1 + 2.0**-24)
    assert use(F(2.0**-24) + F(1), exact, of_product) > 1e6
    assert use(F(2.0**-24) + F(1), exact, bounds.biased(of_product, exact)) > 0.99


@given(pairs_of_rows(128), ARITHMETICS)
def test_scores_lie_within_their_bound(rows: tuple[Row, Row], arithmetic: Arithmetic) -> None:
    a, b = rows
    root = math.sqrt(len(a))
    dot = {"mirror": float32.dot_mirror, "fast": float32.dot_chain}[arithmetic]
    out = dot(a, b) / np.sqrt(F(len(a)))
    bound = bounds.score(magnitude(a, b) / root, len(a))
    used = use(out, exact_dot(a, b) / root, bound)
    target(used, label=arithmetic)
    assert used <= 1


def test_half_the_bound_of_a_score_is_too_little() -> None:
    a, b = pair_of_rows("stagnant", 127, 0, 0)
    bound = bounds.score(magnitude(a, b) / math.sqrt(127), 127)
    assert use(float32.dot_mirror(a, b) / np.sqrt(F(127)), exact_dot(a, b) / math.sqrt(127), bound) > 0.9


@given(pairs_of_rows())
@example(pair_of_rows("stagnant", 20_000, 0, 0))
def test_attention_output_lies_within_its_bound(rows: tuple[Row, Row]) -> None:
    shares, values = np.abs(rows[0]) / max(float(np.abs(rows[0]).sum()), 1e-30), rows[1]
    shares = shares.astype(F)
    bound = bounds.mixture(magnitude(shares, values), len(shares))
    used = use(float32.mixture(shares, values), exact_dot(shares, values), bound)
    target(used)
    assert used <= 1


def test_half_the_bound_of_attention_output_is_too_little() -> None:
    values, shares = pair_of_rows("stagnant", 4096, 0, 0)
    bound = bounds.mixture(magnitude(shares, values), 4096)
    assert use(float32.mixture(shares, values), exact_dot(shares, values), bound) > 0.99


@given(st.integers(0, 2**32 - 1), st.integers(-74, 10), st.booleans())
def test_rotations_lie_within_their_bound(seed: int, exponent: int, alike: bool) -> None:
    rng = np.random.default_rng(seed)
    a, b = (rng.standard_normal((2, 64)) * 2.0**exponent).astype(F)
    angle = rng.uniform(0, 7, 64)
    if alike:  # near 45 degrees the difference cancels
        a, angle = b.copy(), np.full(64, math.pi / 4)
    c, s = np.cos(angle).astype(F), np.sin(angle).astype(F)
    even, odd = float32.rotated(a, b, c, s)
    wide = [v.astype(np.float64) for v in (a, b, c, s)]
    exact = rotated_exactly(*wide)
    bound = bounds.rotation(doubles(rotated_exactly(*map(abs, wide), sign=1)))
    used = use((even, odd), exact, bound)
    target(used)
    assert used <= 1


def rotated_exactly(
    a: np.ndarray, b: np.ndarray, c: np.ndarray, s: np.ndarray, sign: int = -1
) -> tuple[np.ndarray, np.ndarray]:
    return a * c + sign * b * s, a * s + b * c


def test_half_the_bound_of_a_rotation_is_too_little() -> None:
    """Both products round up by nearly half a unit, and their sum does."""
    rng = np.random.default_rng(0)
    a, b, c, s = rng.uniform(0.5, 1, (4, 200_000)).astype(F)
    odd = float32.rotated(a, b, c, s)[1]
    exact = a.astype(np.float64) * s + b.astype(np.float64) * c
    assert use(odd, exact, bounds.rotation(doubles(exact))) > 0.9


def test_gamma_bounds_powers_of_every_size() -> None:
    for roundings in (1.0, 7.5, 1e3, 2.0**20):
        for logarithm in (-roundings * math.log1p(-UNIT), roundings * UNIT):
            assert math.expm1(logarithm) <= float(bounds.gamma(roundings)) * (1 + 1e-15)
    assert float(bounds.gamma(2.0**24)) == math.inf
    assert math.isnan(bounds.gamma(math.nan))


def test_a_bound_over_a_tensor_of_counts_is_that_over_each() -> None:
    """Nothing else is left of it where all products underflow."""
    counts = torch.arange(1, 9)
    nothing = torch.zeros(8, dtype=torch.float64)
    of_each = [bounds.mixture(nothing[:1], int(count)).item() for count in counts]
    assert bounds.mixture(nothing, counts).tolist() == of_each
    assert min(of_each) >= bounds.TAU / 2
