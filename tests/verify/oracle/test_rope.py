"""RoPE's rotation: unit complex numbers that add up, with the frequencies of each scaling."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from helpers.mistake_files import hyperparameters
from helpers.models import config

from verify.oracle.rope import frequencies, rotation
from verify.oracle.rounding_noise import Noise
from verify.sources import Hyperparameters, RopeScaling

PLAIN = hyperparameters(config(dim=96, n_heads=6, n_kv_heads=3))


def scaled(scaling: RopeScaling) -> Hyperparameters:
    return dataclasses.replace(PLAIN, rope_scaling=scaling)


def test_frequencies_fall_from_one_by_equal_factors() -> None:
    found = frequencies(PLAIN)
    assert found[0] == 1
    torch.testing.assert_close(found[1:] / found[:-1], torch.full((7,), PLAIN.rope_theta ** (-1 / 8)).double())


def test_a_rotation_by_two_positions_is_two_rotations_by_one() -> None:
    found = rotation(PLAIN, 9, torch.float64, Noise())
    assert found[0].tolist() == [1] * 8
    torch.testing.assert_close(found[2:], found[1:-1] * found[1], rtol=0, atol=1e-14)
    torch.testing.assert_close(found.abs(), torch.ones_like(found.abs()), rtol=0, atol=1e-15)


def test_dynamic_scaling_changes_nothing_within_the_original_length_and_linear_divides() -> None:
    assert torch.equal(frequencies(scaled(RopeScaling("dynamic", 4.0, 32))), frequencies(PLAIN))
    torch.testing.assert_close(frequencies(scaled(RopeScaling("linear", 4.0))), frequencies(PLAIN) / 4)


@pytest.mark.parametrize(
    "scaling",
    [
        RopeScaling("llama3", 8.0, 64, low_freq_factor=1.0, high_freq_factor=4.0),
        RopeScaling("yarn", 8.0, 64, beta_fast=32.0, beta_slow=1.0, attention_factor=1.2, truncate=True),
    ],
)
def test_blended_scalings_keep_the_fast_pairs_and_divide_the_slow_ones(scaling: RopeScaling) -> None:
    plain, found = frequencies(PLAIN), frequencies(scaled(scaling))
    ratio = plain / found
    assert ratio[0] == 1
    assert ratio[-1] == pytest.approx(8.0)
    assert torch.equal(ratio.sort().values, ratio)
    assert rotation(scaled(scaling), 2, torch.float64, Noise())[0].real.unique().tolist() == [
        scaling.attention_factor if scaling.type == "yarn" else 1.0
    ]


def test_longrope_divides_each_pair_by_its_own_factor() -> None:
    factors = (1.0, 1.5, 2.0, 2.5, 4.0, 8.0, 16.0, 64.0)
    long = RopeScaling("longrope", original_max_positions=9, attention_factor=1.25, short_factors=factors)
    assert (frequencies(PLAIN) / frequencies(scaled(long))).tolist() == pytest.approx(factors, rel=1e-15, abs=0)
    torch.testing.assert_close(
        rotation(scaled(long), 9, torch.float64, Noise()).abs(), torch.full((9, 8), 1.25).double()
    )


def test_an_unknown_scaling_is_refused() -> None:
    with pytest.raises(ValueError, match="rope_scaling: other"):
        frequencies(scaled(dataclasses.replace(RopeScaling("linear", 4.0), type="other")))
