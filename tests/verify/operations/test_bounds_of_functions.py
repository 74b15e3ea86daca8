"""Bounds of RMSNorm, softmax and the gates against float32 in the engine's order and float64."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from helpers import float32
from helpers.attacks import doubles, in_bfloat16, use
from helpers.float32 import F, Row
from hypothesis import example, given, target
from hypothesis import strategies as st

from verify.operations import bounds

SEEDS = st.integers(0, 2**32 - 1)
ACTIVATIONS = ("silu", "gelu", "gelu_tanh")


@pytest.fixture(autouse=True)
def _quiet() -> object:
    """Powers that overflow or vanish are what some of these are about."""
    with np.errstate(over="ignore", under="ignore", divide="ignore"):
        yield


# ---- RMSNorm ----


def use_of_norm(out: Row, x: Row, weight: Row, eps: np.float32) -> float:
    mean = math.fsum((x.astype(np.float64) ** 2).tolist()) / len(x)
    exact = weight.astype(np.float64) * x.astype(np.float64) / math.sqrt(mean + float(eps))
    return use(out, exact, bounds.rms_norm(doubles(exact), doubles(weight), doubles(mean), float(eps), len(x)))


def stagnant_squares(dim: int) -> Row:
    """A square of 1, then squares that are each lost when added to it."""
    x = np.full(dim, 2.0**-12, F)
    x[0] = 1
    return x


@given(SEEDS, st.integers(1, 300), st.integers(-149, 30), st.sampled_from([1e-5, 1e-6, 2.0**-126]), st.booleans())
@example(0, 20_000, 0, 1e-5, False)
@example(0, 300, -75, 2.0**-126, False)
@example(0, 20_000, 0, 2.0**-126, True)
@example(0, 1, -75, 2.0**-149, False)
def test_norms_lie_within_their_bound(seed: int, dim: int, exponent: int, eps: float, stagnant: bool) -> None:
    rng = np.random.default_rng(seed)
    x = stagnant_squares(dim) if stagnant else (rng.standard_normal(dim) * 2.0**exponent).astype(F)
    weight = (rng.standard_normal(dim) * 2.0 ** rng.integers(-30, 3)).astype(F)
    used = use_of_norm(float32.rms_norm(x, weight, F(eps)), x, weight, F(eps))
    target(used)
    assert used <= 1


def test_a_sum_of_squares_that_stagnates_uses_nearly_all_of_a_norms_bound() -> None:
    x, weight, eps = stagnant_squares(20_000), np.ones(20_000, F), F(2.0**-126)
    assert use_of_norm(float32.rms_norm(x, weight, eps), x, weight, eps) > 0.99


def test_a_norm_in_bfloat16_or_with_another_eps_breaks_the_bound() -> None:
    x, weight = np.random.default_rng(0).standard_normal((2, 576)).astype(F)
    out = float32.rms_norm(x, weight, F(1e-5))
    assert use_of_norm(out, x, weight, F(1e-5)) < 0.2
    assert use_of_norm(in_bfloat16(out), x, weight, F(1e-5)) > 10
    small = x * F(0.1)
    assert use_of_norm(float32.rms_norm(small, weight, F(1e-6)), small, weight, F(1e-5)) > 10


# ---- softmax ----


def use_of_softmax(out: Row, scores: Row) -> float:
    depth = scores.astype(np.float64) - float(scores.max())
    shares = np.exp(depth) / math.fsum(np.exp(depth).tolist())
    return use(out, shares, bounds.softmax(doubles(shares), doubles(scores), len(scores)))


@given(SEEDS, st.integers(1, 200), st.floats(-10, 7), st.booleans())
@example(0, 20_000, 0.0, False)
@example(0, 20_000, -10.0, False)
@example(0, 200, 7.0, False)
@example(0, 5, 40.0, False)
@example(0, 4096, 0.0, True)
def test_softmax_lies_within_its_bound(seed: int, positions: int, exponent: float, stagnant: bool) -> None:
    """Scores up to a few hundred apart, and more, whose powers are subnormal or vanish."""
    rng = np.random.default_rng(seed)
    scores = (rng.standard_normal(positions) * 2.0**exponent).astype(F)
    if stagnant:
        scores[1:] = scores[0] = 0
        scores[1:] -= F(24 * math.log(2))
    used = use_of_softmax(float32.softmax(scores), scores)
    target(used)
    assert used <= 1


def test_a_sum_of_powers_that_stagnates_uses_nearly_all_of_softmaxs_bound() -> None:
    scores = np.full(20_000, -24.0001 * math.log(2), F)
    scores[0] = 0
    assert use_of_softmax(float32.softmax(scores), scores) > 0.9


def test_half_the_bound_of_a_small_share_is_too_little() -> None:
    """The difference of two scores is rounded, and its power errs by as much times their distance."""
    rng = np.random.default_rng(0)
    rows = np.stack((rng.uniform(32, 64, 300), rng.uniform(-32, -1, 300)), axis=1).astype(F)
    assert 0.5 < max(use_of_softmax(float32.softmax(row), row) for row in rows) <= 1


def test_shares_that_are_not_of_the_largest_score_or_in_bfloat16_break_the_bound() -> None:
    scores = np.random.default_rng(0).standard_normal(300).astype(F)
    out = float32.softmax(scores)
    assert use_of_softmax(out, scores) < 0.2
    assert use_of_softmax(in_bfloat16(out), scores) > 10
    assert use_of_softmax(float32.softmax(scores[:-1]), scores[:-1]) < 0.2
    assert use_of_softmax(np.append(float32.softmax(scores[:-1]), F(0)), scores) > 10


def test_softmax_of_some_positions_is_that_of_a_row_cut_short() -> None:
    scores = torch.randn(3, 5, 5, dtype=torch.float64)
    seen = torch.arange(1, 6)[:, None]
    masked = torch.where(torch.arange(5) < seen, scores, -torch.inf)
    together = bounds.softmax(masked.softmax(dim=-1), masked, seen)
    for row in range(5):
        alone = scores[:, row, : row + 1]
        torch.testing.assert_close(
            together[:, row, : row + 1], bounds.softmax(alone.softmax(dim=-1), alone, row + 1), rtol=1e-12, atol=0
        )
    assert torch.isfinite(together).all()


# ---- gates ----


def exactly(gate: Row, up: Row, activation: str) -> torch.Tensor:
    x, u = doubles(gate), doubles(up)
    if activation == "silu":
        return x * torch.sigmoid(x) * u
    if activation == "gelu":
        return x / 2 * doubles([math.erfc(-v * math.sqrt(0.5)) for v in x.tolist()]) * u
    return x * torch.sigmoid(2 * math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)) * u


def use_of_gate(out: Row, gate: Row, up: Row, activation: str) -> float:
    exact = exactly(gate, up, activation)
    return use(out, exact, bounds.gated(exact, doubles(gate), doubles(up), activation))


@pytest.mark.parametrize("activation", ACTIVATIONS)
@given(SEEDS, st.floats(-73, 9), st.floats(-73, 9))
@example(0, 6.5, 9.0)
@example(0, 6.5, 30.0)
@example(0, 60.0, 30.0)
@example(0, 2.0, -140.0)
def test_gates_lie_within_their_bound(activation: str, seed: int, of_gate: float, of_up: float) -> None:
    """Over all sizes, the overflow of e^-x at -88.7 and erfc's vanishing at -14 among them."""
    rng = np.random.default_rng(seed)
    gate, up = (rng.standard_normal((2, 64)) * [[2.0**of_gate], [2.0**of_up]]).astype(F)
    used = use_of_gate(float32.gated(gate, up, activation), gate, up, activation)
    target(used)
    assert used <= 1


@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("size", [1.0, 1e30])
def test_gates_lie_within_their_bound_all_along(activation: str, size: float) -> None:
    """From -110 to 30 in steps of a thousandth, times a number that leaves the tails visible."""
    gate = np.arange(-110, 30, 0.001, dtype=np.float64).astype(F)
    up = np.full_like(gate, size)
    assert use_of_gate(float32.gated(gate, up, activation), gate, up, activation) <= 1


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_half_the_bound_of_a_gate_is_too_little(activation: str) -> None:
    rng = np.random.default_rng(1)
    gate = rng.uniform(-12, 12, 400_000).astype(F)
    up = rng.uniform(1, 2, 400_000).astype(F)
    assert 0.5 < use_of_gate(float32.gated(gate, up, activation), gate, up, activation) <= 1


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_gates_in_bfloat16_or_of_another_kind_break_the_bound(activation: str) -> None:
    gate, up = np.random.default_rng(0).standard_normal((2, 256)).astype(F)
    out = float32.gated(gate, up, activation)
    assert use_of_gate(in_bfloat16(out), gate, up, activation) > 10
    for other in set(ACTIVATIONS) - {activation}:
        assert use_of_gate(out, gate, up, other) > 10


def test_constants_of_the_gates_are_the_nearest_float32() -> None:
    """As the bound has it, and as mirror_rows.c writes them."""
    assert F(0.5**0.5) == F(float.fromhex("0x1.6a09e6p-1"))
    assert F(2 * (2 / np.pi) ** 0.5) == F(float.fromhex("0x1.988454p+0"))
    assert F(0.044715) == F(float.fromhex("0x1.6e4e26p-5"))


def test_libm_stays_within_the_units_that_the_bounds_take() -> None:
    """On a grid; whether every argument does is for whoever runs all 2^32."""
    arguments = np.random.default_rng(0).uniform(-20, 20, 100_000).astype(F)
    for name, double in (("expf", math.exp), ("cosf", math.cos), ("sinf", math.sin)):
        true = np.array([double(x) for x in arguments.tolist()])
        error = np.abs(float32.call(name, arguments) - true)
        assert (error <= bounds.LIBM_ULPS * np.spacing(np.abs(true).astype(F))).all(), name
    arguments = np.random.default_rng(0).uniform(-4, 10, 100_000).astype(F)
    true = np.array([math.erfc(x) for x in arguments.tolist()])
    error = np.abs(float32.call("erfcf", arguments) - true)
    assert (error <= bounds.ERFC_ULPS * np.spacing(true.astype(F))).all()
