"""Bounds of int8 activations and their products."""

from __future__ import annotations

import math

import numpy as np
import pytest
from helpers import float32
from helpers.attacks import doubles, use
from helpers.float32 import F, Row
from hypothesis import example, given, target
from hypothesis import strategies as st

from verify.operations import bounds
from verify.oracle.expected import UNIT

SEEDS = st.integers(0, 2**32 - 1)


@st.composite
def groups(draw: st.DrawFn) -> Row:
    rng = np.random.default_rng(draw(SEEDS))
    size, exponent = draw(st.integers(1, 128)), draw(st.integers(-152, 120))
    return (rng.standard_normal(size) * 2.0**exponent).astype(F)


@given(groups())
@example(np.array([63 * 2.0**-149], F))
@example(np.array([190 * 2.0**-149, 2.0**-149], F))
@example(np.array([0, 0], F))
@example(np.array([np.finfo(F).max, 1], F))
def test_activations_and_their_scale_lie_within_their_bounds(x: Row) -> None:
    q, scale = float32.quantize_activations(x)
    peak = float(np.abs(x).max())
    of_scale = use(scale, peak / 127, bounds.activation_scale(doubles(peak)))
    of_step = use(q * np.float64(scale), x, bounds.activation_step(doubles(scale)))
    target(max(of_scale, of_step))
    assert max(of_scale, of_step) <= 1


# scales that are normal; subnormal but fine; of 4.4 subnormal units, which are rounded to 4
@pytest.mark.parametrize("size", [1, 2.0**-121, 1.1 * 2.0**-140])
def test_activations_use_nearly_all_of_their_bounds(size: float) -> None:
    x = (np.random.default_rng(0).uniform(-1, 1, (500, 64)) * size).astype(F)
    quantized = [float32.quantize_activations(row) for row in x]
    peaks = doubles([np.abs(row).max() for row in x])
    scales = doubles([scale for _, scale in quantized])
    steps = np.stack([q * np.float64(scale) for q, scale in quantized])
    assert 0.7 < use(scales, peaks / 127, bounds.activation_scale(peaks)) <= 1
    assert 0.7 < use(steps, x, bounds.activation_step(scales)[:, None]) <= 1


def test_quotients_use_half_of_what_a_step_may_be_off_beyond_a_half() -> None:
    """A quotient between 64 and 128 is rounded by at most 64 u. The bound takes 128 u, and the
    verifier's own 8 u, but no more."""
    rng = np.random.default_rng(0)
    peak = rng.uniform(127, 254, 400_000).astype(F)
    scale = peak / F(127)
    # beside a tie below 127, a few float32 to either side
    x = (126.5 * scale.astype(np.float64)).astype(F) + np.spacing(F(126)) * rng.integers(-2, 3, len(peak)).astype(F)
    q = np.floor((x / scale).astype(np.float64) + 0.5)
    beyond = np.abs(q * scale - x.astype(np.float64)) / scale - 0.5
    assert 63 * UNIT < beyond.max() <= 64 * UNIT
    allowed = bounds.activation_step(doubles(scale)).numpy() / scale - 0.5
    assert 0.46 < (beyond / allowed).max() <= 0.5


def test_a_step_beside_the_nearest_breaks_the_bound() -> None:
    x = np.random.default_rng(0).standard_normal(64).astype(F)
    q, scale = float32.quantize_activations(x)
    q[np.abs(q).argmin()] += 1
    assert use(q * np.float64(scale), x, bounds.activation_step(doubles(scale))) > 1
    # nor may the scale be another float32 beside it
    peak = float(np.abs(x).max())
    assert use(np.nextafter(scale, F(1)), peak / 127, bounds.activation_scale(doubles(peak))) > 1


def use_of_product(integers: np.ndarray, weight_scales: Row, scales: Row, group_size: int) -> float:
    wide = [float(i) * float(w) * float(s) for i, w, s in zip(integers, weight_scales, scales, strict=True)]
    magnitudes = math.fsum(map(abs, wide))
    bound = bounds.quantized_product(doubles(magnitudes), len(wide), group_size)
    return use(float32.quantized_dot(integers, weight_scales, scales), math.fsum(wide), bound)


@given(SEEDS, st.integers(1, 300), st.sampled_from([1, 32, 64, 1024, 4096, 132_104]), st.integers(-149, 10))
@example(0, 20_000, 32, -7)
@example(0, 300, 32, -149)
def test_quantized_products_lie_within_their_bound(seed: int, count: int, group_size: int, exponent: int) -> None:
    """group_size up to the largest whose sum int32 holds."""
    rng = np.random.default_rng(seed)
    largest = 127 * 127 * group_size
    integers = rng.integers(-largest, largest + 1, count).astype(np.int32)
    weight_scales = (rng.uniform(0.5, 1, count) * 2.0**exponent).astype(F)
    scales = (rng.uniform(0.5, 1, count) * 2.0 ** rng.integers(-20, 3)).astype(F)
    used = use_of_product(integers, weight_scales, scales, group_size)
    target(used)
    assert used <= 1


def test_a_sum_over_groups_that_stagnates_uses_nearly_all_of_its_bound() -> None:
    integers, ones = np.ones(4096, np.int32), np.ones(4096, F)
    scales = np.full(4096, 2.0**-24, F)
    scales[0] = 1
    assert use_of_product(integers, ones, scales, 32) > 0.99


@pytest.mark.parametrize(("integer", "group_size"), [(2**24 + 2**20 + 1, 1057), (2**30 + 2**26 + 63, 132_104)])
def test_an_integer_beyond_2_to_the_24_costs_one_more_rounding(integer: int, group_size: int) -> None:
    """Of numbers a little above powers of two, whose roundings are relatively largest."""
    weight_scales, scales = np.random.default_rng(0).uniform(1, 1.2, (2, 200_000)).astype(F)
    out = np.int32(integer).astype(F) * weight_scales * scales
    exact = integer * doubles(weight_scales) * doubles(scales)
    assert use(out, exact, bounds.quantized_product(exact, 1, group_size)) <= 1
    assert use(out, exact, bounds.quantized_product(exact, 1, 1032)) > 1
