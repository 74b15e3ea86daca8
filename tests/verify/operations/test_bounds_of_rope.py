"""Bounds of RoPE's frequencies and tables against float32 in the engine's order and float64."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch
from helpers import float32
from helpers.attacks import doubles, in_bfloat16, use
from helpers.float32 import F, Row
from helpers.models import config, hyperparameters
from hypothesis import example, given, target
from hypothesis import strategies as st

from verify.operations import bounds
from verify.oracle.rope import frequencies
from verify.sources import Hyperparameters, RopeScaling

SCALINGS = {
    "none": RopeScaling(),
    "dynamic": RopeScaling("dynamic", factor=2.0, original_max_positions=2048),
    "linear": RopeScaling("linear", factor=3.0),
    "linear, far": RopeScaling("linear", factor=2.0**30),
    "llama3": RopeScaling("llama3", 8.0, 8192, low_freq_factor=1.0, high_freq_factor=4.0),
    "yarn": RopeScaling("yarn", 40.0, 4096, beta_fast=32.0, beta_slow=1.0, attention_factor=1.3688879454113936),
}
# Phi 4 mini's long factors, of which a head of any size has the first ones
_FACTORS = torch.tensor([1.118320672**pair for pair in range(64)]).tolist()


def model_of(head_dim: int, theta: float, scaling: str = "none") -> Hyperparameters:
    if scaling == "longrope":
        factors = tuple(_FACTORS[: head_dim // 2])
        of_model = RopeScaling("longrope", 0.0, 4096, attention_factor=1.1902380714, short_factors=factors)
    else:
        of_model = SCALINGS[scaling]
    shape = {"dim": head_dim, "n_heads": 1, "n_kv_heads": 1, "max_seq_len": 8192}
    return dataclasses.replace(hyperparameters(config(**shape, rope_theta=theta)), rope_scaling=of_model)


def engine_frequencies(model: Hyperparameters) -> Row:
    plain = dataclasses.replace(model, rope_scaling=RopeScaling())
    ratios = (frequencies(model) / frequencies(plain)).numpy()
    return float32.rope_frequencies(model.rope_theta, model.head_dim, ratios)


def use_of_tables(model: Hyperparameters, position: int, cosine: Row, sine: Row) -> float:
    exact = frequencies(model)
    factor = model.rope_scaling.attention_factor or 1.0
    angle = exact * position
    of_angle = bounds.rope_angle(exact, torch.tensor(float(position)), bounds.rope_frequency(exact, model))
    return max(
        use(out, true * factor, bounds.rope_table(true * factor, of_angle, factor))
        for out, true in ((cosine, angle.cos()), (sine, angle.sin()))
    )


THETAS = st.one_of(st.sampled_from([10000.0, 1e5, 5e5, 1e6, 10000.0001, 0.5]), st.floats(2, 1e8))


@given(st.integers(1, 64), THETAS, st.sampled_from([*sorted(SCALINGS), "longrope"]), st.integers(0, 2**20))
@example(64, 500000.0, "llama3", 131071)
@example(48, 10000.0, "none", 8191)
@example(1, 10000.0, "none", 2**24)
@example(64, 3e38, "linear, far", 3)
def test_frequencies_and_tables_lie_within_their_bounds(half: int, theta: float, scaling: str, position: int) -> None:
    model = model_of(2 * half, theta, scaling)
    engine, exact = engine_frequencies(model), frequencies(model)
    of_frequency = use(engine, exact, bounds.rope_frequency(exact, model))
    target(of_frequency, label="frequency")
    assert of_frequency <= 1
    factor = model.rope_scaling.attention_factor or 1.0
    of_tables = use_of_tables(model, position, *float32.rope_row(position, engine, factor))
    target(of_tables, label="tables")
    assert of_tables <= 1


def worst(measure: str) -> float:
    """Over many thetas at head size 96, where the exponent is rounded."""
    largest = 0.0
    for theta in np.random.default_rng(0).uniform(1e3, 1e6, 200):
        model = model_of(96, float(F(theta)))
        engine, exact = engine_frequencies(model), frequencies(model)
        if measure == "frequency":
            used = use(engine, exact, bounds.rope_frequency(exact, model))
        else:
            used = max(use_of_tables(model, p, *float32.rope_row(p, engine, 1.0)) for p in (1, 511, 8191))
        largest = max(largest, used)
    return largest


@pytest.mark.parametrize("measure", ["frequency", "tables"])
def test_half_the_bound_is_too_little(measure: str) -> None:
    assert 0.5 < worst(measure) <= 1


@pytest.mark.parametrize("scaling", sorted(SCALINGS))
def test_another_position_theta_or_bfloat16_breaks_the_bound(scaling: str) -> None:
    model = model_of(64, 10000.0, scaling)
    factor = model.rope_scaling.attention_factor or 1.0
    engine = engine_frequencies(model)
    right = float32.rope_row(1000, engine, factor)
    assert use_of_tables(model, 1000, *right) <= 1
    assert use_of_tables(model, 1001, *right) > 1000
    assert use_of_tables(model, 1000, *map(in_bfloat16, right)) > 10
    other = engine_frequencies(dataclasses.replace(model, rope_theta=10010.0))
    assert use_of_tables(model, 1000, *float32.rope_row(1000, other, factor)) > 10
    assert use_of_tables(model, 1000, *float32.rope_row(1000, in_bfloat16(engine), factor)) > 10


def test_an_exponent_that_is_no_float32_costs_its_share() -> None:
    """Head size 96 breaks what would do for 64 or 128."""
    largest = 0.0
    for theta in np.random.default_rng(0).uniform(1e5, 1e6, 50):
        model = model_of(96, float(F(theta)))
        exact = frequencies(model)
        powers_of_two = exact * bounds.gamma(2 * bounds.LIBM_ULPS + 1)
        largest = max(largest, use(engine_frequencies(model), exact, powers_of_two))
    assert largest > 1


def test_a_theta_that_is_no_float32_costs_its_share() -> None:
    theta = float(F(10000)) + float(np.spacing(F(10000))) * 0.499
    model = model_of(64, theta)
    engine, exact = engine_frequencies(model), frequencies(model)
    assert use(engine, exact, bounds.rope_frequency(exact, model)) <= 1
    rounded = dataclasses.replace(model, rope_theta=10000.0)
    narrow = bounds.rope_frequency(exact, rounded)
    assert bool((bounds.rope_frequency(exact, model) > narrow)[1:].all())


def test_the_first_pair_has_but_the_error_of_cosine_and_sine() -> None:
    """Its frequency is 1, so that its angle is the position, however large."""
    model = model_of(64, 10000.0)
    exact = frequencies(model)
    positions = torch.arange(5000, dtype=torch.float64)[:, None]
    of_angle = bounds.rope_angle(exact, positions, bounds.rope_frequency(exact, model))
    assert not of_angle[:, 0].any()
    assert (of_angle[1:, 1:] > 0).all()


def test_angles_of_the_engines_own_frequencies_have_one_rounding() -> None:
    engine = engine_frequencies(model_of(96, 10000.0))
    positions = np.arange(1, 5000, dtype=np.float64)[:, None]
    bound = bounds.rope_angle(doubles(engine), doubles(positions), 0.0)
    used = use(positions.astype(F) * engine, positions * engine.astype(np.float64), bound)
    assert 0.98 < used <= 1
