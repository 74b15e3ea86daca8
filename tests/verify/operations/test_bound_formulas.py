"""Each formula beside a second derivation that counts the roundings one by one: neither tighter nor looser."""

from __future__ import annotations

import dataclasses
import math
from fractions import Fraction

import pytest
import torch
from helpers import roundings
from helpers.attacks import doubles
from helpers.models import config, hyperparameters
from helpers.roundings import SLACK, TAU, Rounded, U, gamma
from scipy.special import erfcx

from verify.operations import bounds
from verify.oracle.expected import half_bound, rounding_bound
from verify.oracle.rope import frequencies
from verify.sources import Hyperparameters, RopeScaling

# Roundings are counted one by one, where the bounds have gamma: they differ by a multiple of u.
CLOSE = 1e-5
ZERO = doubles(0.0)


def close(expected: object, rel: float = 1e-9) -> object:
    """Relatively close: some of these numbers are of the size of tau."""
    return pytest.approx(expected, rel=rel, abs=0)


def relative(bound: torch.Tensor, exact: float) -> float:
    """A bound far above the subnormal numbers, in units of u of the exact result."""
    return float(bound) / SLACK / abs(exact) / U


@pytest.mark.parametrize("units", [1, 2.5, 7, 1032, 2**20])
def test_gamma_is_exact(units: float) -> None:
    share = Fraction(units) * Fraction(1, 2**24)
    assert float(bounds.gamma(units)) == close(float(share / (1 - share)), rel=1e-15)
    assert float(bounds.gamma(2**24)) == float(bounds.gamma(1.5 * 2**24)) == float(bounds.gamma(2**25)) == math.inf
    assert math.isfinite(bounds.gamma(2**24 - 1))


# ---- sums ----


@pytest.mark.parametrize("terms", [1, 2, 15, 16, 17, 32, 33, 1032])
@pytest.mark.parametrize(("arithmetic", "lanes"), [("mirror", 1), ("fast", 16)])
def test_products_count_the_roundings_of_the_longest_way(terms: int, arithmetic: str, lanes: int) -> None:
    units = roundings.largest_units_of_a_sum(terms, lanes)
    for magnitude in (0.0, 2.0**-140, 3.0):
        expected = gamma(units) * magnitude + terms * TAU / 2 * (1 + gamma(units))
        found = bounds.product(doubles(magnitude), terms, arithmetic)  # type: ignore[arg-type]
        assert float(found) == close(expected * SLACK, rel=1e-12)


def test_the_slack_is_that_of_float64_and_no_more() -> None:
    assert float(bounds.rotation(doubles(1.0))) == close(gamma(2) * SLACK, rel=1e-13)


def test_a_bias_adds_one_rounding() -> None:
    for of_product, exact in ((0.0, 2.0), (3.0, 0.0), (1e-9, -1.0)):
        expected = of_product * (1 + U) + U * abs(exact)
        assert float(bounds.biased(doubles(of_product), doubles(exact))) == close(expected * SLACK, rel=1e-13)


@pytest.mark.parametrize("head_dim", [1, 8, 64, 127])
def test_scores_count_a_root_and_a_division(head_dim: int) -> None:
    units = roundings.largest_units_of_a_sum(head_dim, 1) + 2
    for magnitude in (0.0, 5.0):
        expected = gamma(units) * magnitude + head_dim * TAU / 2 * (1 + gamma(units)) + TAU
        assert float(bounds.score(doubles(magnitude), head_dim)) == close(expected * SLACK, rel=1e-6)


def test_mixtures_and_rotations_are_sums_in_order() -> None:
    for magnitude in (0.0, 5.0):
        for positions in (1, 9, 512):
            expected = gamma(positions) * magnitude + positions * TAU / 2 * (1 + gamma(positions))
            assert float(bounds.mixture(doubles(magnitude), positions)) == close(expected * SLACK, rel=1e-12)
        expected = gamma(2) * magnitude + TAU * (1 + gamma(2))
        assert float(bounds.rotation(doubles(magnitude))) == close(expected * SLACK, rel=1e-12)


# ---- int8 ----


def test_a_scale_has_one_rounding() -> None:
    for peak in (0.0, 2.0**-149, 3.0, 1e38):
        expected = U * peak / 127 + TAU / 2
        assert float(bounds.activation_scale(doubles(peak))) == close(expected * SLACK, rel=1e-13)


def test_a_step_is_half_of_it_and_what_the_quotient_is_off() -> None:
    normal = [2.0**-126, 1.0, 1e30]
    for scale in normal:
        half = scale * (0.5 + 128 * U)
        assert float(rounding_bound(doubles(scale))) == half
        assert float(bounds.activation_step(doubles(scale))) == close(half * SLACK, rel=1e-13)
    for units in (0, 1, 63, 126, 127, 128, 2**20, 2**23 - 1):  # of tau: subnormal scales
        scale = units * TAU
        expected = max(scale * (0.5 + 192 * U), 127 * TAU / 2)
        assert float(bounds.activation_step(doubles(scale))) == close(expected * SLACK, rel=1e-13)


@pytest.mark.parametrize(("group_size", "converted"), [(1, 0), (32, 0), (1032, 0), (1033, 1), (4096, 1)])
def test_int8_products_count_a_conversion_beyond_2_to_the_24(group_size: int, converted: int) -> None:
    for groups in (1, 9, 300):
        units = roundings.largest_units_of_a_sum(groups, 1) + 1 + converted
        for magnitude in (0.0, 7.0):
            expected = gamma(units) * magnitude + groups * TAU / 2 * (1 + gamma(units))
            found = bounds.quantized_product(doubles(magnitude), groups, group_size)
            assert float(found) == close(expected * SLACK, rel=1e-12)


@pytest.mark.parametrize(("storage", "unit", "least"), [("fp16", 2.0**-11, 2.0**-25), ("bf16", 2.0**-8, 2.0**-134)])
def test_halves_are_off_by_half_a_unit(storage: str, unit: float, least: float) -> None:
    w = torch.tensor([1.0, -3.0, 0.0, 2.0**-149])
    assert half_bound(w, storage).tolist() == [unit, 3 * unit, least, least]


# ---- functions of a row ----


@pytest.mark.parametrize("count", [1, 2, 64, 577])
def test_norms_count_the_way_of_the_largest_square(count: int) -> None:
    eps = 2.0**-60  # so small that the mean's error counts in full
    second = roundings.rms_norm(3.0, 2.0**-40, count, 0.7, eps)
    found = bounds.rms_norm(doubles(second.value), doubles(0.7), doubles(9.0 / count), eps, count)
    assert relative(found, second.value) == close(second.units, rel=1e-4)


def test_norms_lose_what_underflows() -> None:
    """A mean that loses tau, in numbers that are no larger than it, and two products."""
    mean, eps, weight = 2.0**-140, 2.0**-138, doubles(-3.0)
    expected = gamma(8 / 2 + 5 + TAU / (mean + eps) / U) * 2.0 + (3 + 1) * TAU / 2
    assert float(bounds.rms_norm(doubles(2.0), weight, doubles(mean), eps, 8)) == close(expected * SLACK)
    poisoned = bounds.rms_norm(ZERO, weight, doubles([math.nan, math.inf]), eps, 8)
    assert not torch.isfinite(poisoned).any()
    nothing = bounds.rms_norm(ZERO, weight, doubles(1.0), eps, 8)
    assert float(nothing) == close((3 + 1) * TAU / 2 * SLACK, rel=1e-13)


def test_shares_count_their_own_power_the_sum_s_and_all_additions() -> None:
    scores = [0.0, -1.0, -7.5, -0.25, 2.0]
    for row in (scores, [s - 190 * (s < 0) for s in scores]):
        depth = [max(row) - s for s in row]
        powers = [Rounded(-d, 1).exponential() for d in depth]
        total = math.fsum(p.value for p in powers)
        of_sum = math.fsum(p.value * p.units for p in powers) / total
        found = bounds.softmax(doubles([p.value / total for p in powers]), doubles(row), len(row))
        for power, bound in zip(powers, found, strict=True):
            # additions of all terms but the first, and a division
            expected = gamma(power.units + of_sum + len(row) - 1 + 1) * power.value / total + 2 * TAU
            assert float(bound) == close(expected * SLACK, rel=CLOSE)


def test_each_row_of_shares_has_a_bound_of_its_own_and_ignores_what_it_has_not_seen() -> None:
    rows = [[0.0, -1.0, 1e3], [-3.0, 2.0, 1e3]]
    shares = doubles(rows)[:, :2].softmax(dim=-1)
    alone = [bounds.softmax(share, doubles(row)[:2], 2) for share, row in zip(shares, rows, strict=True)]
    unseen = torch.zeros(2, 1, dtype=torch.float64)
    together = bounds.softmax(torch.cat((shares, unseen), dim=1), doubles(rows), 2)
    for row, one in zip(together, alone, strict=True):
        assert row[:2].tolist() == close(one.tolist(), 1e-13)
        assert float(row[2]) == close(2 * TAU * SLACK)
    late = doubles(rows).masked_fill(doubles(rows) == 1e3, -math.inf)
    assert torch.equal(bounds.softmax(torch.cat((shares, unseen), dim=1), late, 2), together)


def test_shares_far_below_are_allowed_what_vanishes() -> None:
    found = bounds.softmax(doubles([1.0, 0.0]), doubles([0.0, -1e6]), 2)
    assert float(found[1]) == close(2 * TAU * SLACK, rel=1e-12)
    small = bounds.softmax(doubles([1.0, 1.0]), doubles([0.0, -1e6]), 2) - 2 * TAU * SLACK
    # a distance beyond 200 counts as 200, and the sum has the error of its only power
    assert float(small[1]) == close(gamma(200 + 2 + 2 + 2 + 202) * SLACK, rel=1e-4)


# ---- gates ----


@pytest.mark.parametrize("activation", ["silu", "gelu", "gelu_tanh"])
@pytest.mark.parametrize("gate", [-9.0, -5.5, -1.8754, -0.3, 1e-3, 0.7, 2.0, 6.0])
def test_gates_count_one_operation_after_another(activation: str, gate: float) -> None:
    second = roundings.gated(gate, -2.5, activation)
    found = bounds.gated(doubles(second.value), doubles(gate), doubles(-2.5), activation)
    assert relative(found, second.value) == close(second.units, rel=1e-4)


@pytest.mark.parametrize("activation", ["silu", "gelu", "gelu_tanh"])
def test_gates_lose_what_underflows(activation: str) -> None:
    gate, up = -3.0, 0.5
    lost = (4 * 1.5 + 3 * 0.5 + 1) if activation == "gelu" else (1.5 + 3.0 + 0.5 + 1)
    found = bounds.gated(ZERO, doubles(gate), doubles(up), activation)
    assert float(found) == close(lost * TAU / 2 * SLACK, rel=1e-12)


@pytest.mark.parametrize(("activation", "edge"), [("silu", -88.72), ("gelu_tanh", -10.060844)])
def test_all_is_allowed_only_where_the_exponential_overflows(activation: str, edge: float) -> None:
    exact = doubles(1e-30)
    for gate, all_of_it in ((edge - 1e-5, True), (edge + 1e-5, False)):
        found = float(bounds.gated(exact, doubles(gate), doubles(1.0), activation))
        assert (found == close(1e-30 * SLACK, rel=1e-6)) == all_of_it
        assert all_of_it or found < 1e-30 * 1e-3


def test_the_argument_at_which_the_exponential_overflows_is_one_of_them() -> None:
    assert float(bounds.gated(doubles(1e-30), doubles(-88.72), doubles(1.0), "silu")) == close(1e-30 * SLACK, 1e-6)


@pytest.mark.parametrize(
    ("gate", "argument"), [(-12.0, 12 * math.sqrt(0.5)), (-1e3, 20.0), (-25.0, 25 * math.sqrt(0.5))]
)
def test_gelu_takes_the_slope_where_it_is_steepest_up_to_20(gate: float, argument: float) -> None:
    shift = argument * gamma(2)
    slope = 2 / math.sqrt(math.pi) / float(erfcx(argument + shift))
    expected = gamma(2 * 4 + 2 + shift * slope / U)
    found = float(bounds.gated(doubles(1.0), doubles(gate), doubles(0.0), "gelu"))
    assert found == close(expected * SLACK, 1e-10)


def test_gates_have_a_bound_however_large_their_arguments() -> None:
    for activation in ("silu", "gelu", "gelu_tanh"):
        found = bounds.gated(doubles([1e38, 0.0]), doubles([1e38, -1e38]), doubles(1.0), activation)
        assert torch.isfinite(found).all()
        assert found[0] < 1e38 * 20 * U


# ---- RoPE ----

PLAIN = RopeScaling()
SCALED = {
    "none": (PLAIN, 0),
    "dynamic": (RopeScaling("dynamic", factor=2.0, original_max_positions=2048), 0),
    "linear": (RopeScaling("linear", factor=3.0), 2),
    "llama3": (RopeScaling("llama3", 8.0, 8192, low_freq_factor=1.0, high_freq_factor=4.0), 2),
    "yarn": (RopeScaling("yarn", 40.0, 4096, beta_fast=32.0, beta_slow=1.0, attention_factor=1.3), 2),
    "longrope": (RopeScaling("longrope", 0.0, 4096, attention_factor=1.2), 2),
}


def model_of(head_dim: int, theta: float, scaling: RopeScaling) -> Hyperparameters:
    hyper = hyperparameters(config(dim=head_dim, n_heads=1, n_kv_heads=1))
    return dataclasses.replace(hyper, rope_theta=theta, rope_scaling=scaling)


@pytest.mark.parametrize("scaling", SCALED)
@pytest.mark.parametrize("head_dim", [64, 96, 6, 2])
@pytest.mark.parametrize("theta", [10000.0, 10000.0004, 0.5])
def test_frequencies_count_the_power_its_arguments_and_a_ratio(scaling: str, head_dim: int, theta: float) -> None:
    of_scaling, ratio = SCALED[scaling]
    if scaling == "longrope":
        factors = tuple(1 + 0.5 * pair for pair in range(head_dim // 2))
        of_scaling = dataclasses.replace(of_scaling, short_factors=factors)
    hyper = model_of(head_dim, theta, of_scaling)
    exact = frequencies(hyper)
    found = bounds.rope_frequency(exact, hyper)
    nearest = float(torch.tensor(theta, dtype=torch.float32))
    base = Rounded(theta, abs(nearest / theta - 1) / U)
    for pair, bound in enumerate(found.tolist()):
        exponent = Rounded(2 * pair / head_dim, 0.0 if head_dim in (2, 64) else 1.0)
        units = Rounded(1.0).over(base.to_the(exponent)).units if pair else 0.0
        lost = TAU if units + ratio else 0.0
        expected = gamma(units + ratio) * float(exact[pair]) + lost
        assert bound == close(expected * SLACK, rel=1e-9)


def test_angles_below_the_normal_numbers_lose_half_of_tau() -> None:
    found = bounds.rope_angle(doubles([2.0**-149, 1.0]), doubles([[1.0]]), 0.0)
    assert found[0].tolist() == close([(U * 2.0**-149 + TAU / 2) * SLACK, 0.0])


def test_angles_have_one_rounding_unless_the_frequency_is_1() -> None:
    frequency, of_frequency = doubles([1.0, 0.5, 0.25]), doubles([0.0, 0.0, 1e-9])
    found = bounds.rope_angle(frequency, doubles([[3.0], [7.0]]), of_frequency)
    for row, p in zip(found.tolist(), (3.0, 7.0), strict=True):
        expected = [0.0, U * p * 0.5 + TAU / 2, p * 1e-9 * (1 + U) + U * p * 0.25 + TAU / 2]
        assert row == close([e * SLACK for e in expected], rel=1e-13)


@pytest.mark.parametrize(("factor", "units", "lost"), [(1.0, 2, 2.0), (1.3, 4, 2.3), (0.5, 4, 1.5)])
def test_tables_have_the_angle_s_error_the_function_s_and_yarn_s(factor: float, units: int, lost: float) -> None:
    for exact, of_angle in ((0.0, 0.0), (0.75, 0.0), (-0.75, 1e-3)):
        expected = gamma(units) * abs(exact) + factor * of_angle * (1 + gamma(units)) + lost * TAU
        found = bounds.rope_table(doubles(exact), doubles(of_angle), factor)
        assert float(found) == close(expected * SLACK, rel=1e-12)
        assert factor != 1.0 or torch.equal(bounds.rope_table(doubles(exact), doubles(of_angle)), found)
