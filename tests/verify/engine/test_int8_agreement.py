"""Logits of int8 activations agree if rounding explains every difference; each measure sees its own kind of fault."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from verify.engine.int8_agreement import MEASURES, Int8Agreement
from verify.oracle.int8_noise import Int8Spread

LENGTH, VOCAB = 60, 40
RNG = np.random.default_rng(0)
OURS = RNG.standard_normal((LENGTH, VOCAB)).astype(np.float32)


def spread(turns: float | None, length: int = LENGTH) -> Int8Spread:
    """As many turns expected at each position; jumps are of size 0.1 and float32 rounding of 1e-6."""
    generator = torch.Generator().manual_seed(0)
    return Int8Spread(
        sigma=None if turns is None else torch.full((length, VOCAB), 1e-6),
        turns=None if turns is None else torch.full((length,), turns, dtype=torch.float64),
        live=0.1 * torch.randn(2, length, VOCAB, generator=generator),
        apart=torch.full((length,), 0.1),
    )


def jumps(seed: int, first: int = 0, size: float = 0.1) -> NDArray[np.float32]:
    """The reader's logits, and healthy jumps from a position on."""
    found = OURS.copy()
    found[first:] += size * np.random.default_rng(1000 + seed).standard_normal(OURS[first:].shape).astype(np.float32)
    return found


def judged(engines: list[NDArray[np.float32]], turns: float | None) -> Int8Agreement:
    agreement = Int8Agreement()
    for number, engine in enumerate(engines):
        tokens = np.random.default_rng(number).integers(0, 1000, LENGTH)
        agreement.add(number, tokens, spread(turns), OURS, engine)
    return agreement


def failed(agreement: Int8Agreement) -> set[str]:
    return {name for name, value in agreement.measured().items() if value > MEASURES[name].limit}


def test_equal_bits_pass_without_any_measure() -> None:
    agreement = Int8Agreement()
    agreement.add_equal(OURS.size)
    verdict = agreement.verdict()
    assert (verdict.status, verdict.observed) == ("pass", 0.0)
    assert verdict.detail == "2400 logits of the engine against the C reader's with int8 activations: equal bits"


def test_jumps_where_turns_are_certain_pass() -> None:
    agreement = judged([jumps(seed) for seed in range(4)], turns=None)
    assert not failed(agreement)
    assert agreement.verdict().status == "pass"
    assert agreement.first is None
    measured = agreement.measured()
    assert measured["size"] == pytest.approx(1, abs=0.05)
    # the draws here are the same in every window, so their sum is twice that of independent ones
    assert measured["mean"] == pytest.approx(0.5, abs=0.1)
    assert measured["slope"] < 4


def test_differences_that_begin_where_turns_are_likely_pass() -> None:
    agreement = judged([jumps(seed, first=10) for seed in range(6)], turns=0.1)
    assert not failed(agreement)


def test_differences_that_begin_where_nothing_turns_fail_however_small() -> None:
    agreement = judged([jumps(seed, size=1e-4) for seed in range(2)], turns=1e-9)
    assert failed(agreement) == {"onset"}
    verdict = agreement.verdict()
    assert verdict.status == "fail"
    assert "differences begin where no activation is near enough to a half to turn (-log10 p 12" in verdict.detail
    assert verdict.where["position"] == 0
    assert agreement.first == {"window": 0, "position": 0}


def test_float32_rounding_is_no_beginning() -> None:
    agreement = judged([jumps(seed, size=1e-6) for seed in range(6)], turns=1e-9)
    assert agreement.measured() == {"onset": 0.0}
    assert agreement.verdict().status == "pass"


def test_windows_with_the_same_first_tokens_are_one_experiment() -> None:
    agreement, tokens = Int8Agreement(), np.arange(LENGTH)
    for number in range(6):
        agreement.add(number, tokens, spread(1e-9), OURS, jumps(number, size=1e-4))
    # one experiment of probability 1e-7 among six windows is no proof
    assert 0 < agreement.measured()["onset"] < MEASURES["onset"].limit


@pytest.mark.parametrize("position", [0, 17, LENGTH - 1])
def test_a_position_that_is_wrong_fails_at_its_place(position: int) -> None:
    engine = jumps(0)
    engine[position] += np.float32(0.8) * np.where(np.arange(VOCAB) % 2, 1, -1).astype(np.float32)
    agreement = judged([jumps(1), engine], turns=0.3)
    assert "position" in failed(agreement)
    assert agreement.first == {"window": 1, "position": position}


def test_one_logit_that_is_wrong_fails() -> None:
    engine = jumps(0)
    engine[5, 3] += 2
    agreement = judged([engine], turns=0.3)
    assert "logit" in failed(agreement)
    assert agreement.verdict().where == {"window": 0, "position": 5}


def test_a_logit_that_differs_alone_fails_even_within_the_jumps_of_others() -> None:
    """A vocabulary large enough that one logit hides in the root mean square of its position."""
    ours = np.zeros((2, 1000), np.float32)
    drawn = Int8Spread(None, None, 0.1 * torch.randn(2, 2, 1000), torch.full((2,), 0.1))
    engine = ours.copy()
    engine[1, 7] = 0.3
    agreement = Int8Agreement()
    agreement.add(0, np.arange(2), drawn, ours, engine)
    assert failed(agreement) == {"alone"}
    assert agreement.first == {"window": 0, "position": 1}
    assert agreement.measured()["alone"] == pytest.approx(1000**0.5)


def test_where_turns_are_certain_a_few_positions_may_jump_to_another_state() -> None:
    """As SmolLM2 does at one position in some thousand, by 35 times."""
    engines = [jumps(seed) for seed in range(4)]
    for position in (7, 19):
        engines[2][position] += 40 * (engines[2][position] - OURS[position])
    agreement = judged(engines, turns=None)
    assert not failed(agreement)
    engines[3][::10] += 40 * (engines[3][::10] - OURS[::10])
    assert {"position", "logit"} <= failed(judged(engines, turns=None))


# a change that hides below the jumps of every single position -> the measure that sees it
HIDDEN = {
    "size": lambda seed: jumps(seed, size=0.15),
    "mean": lambda seed: jumps(seed) + 0.05 * np.random.default_rng(99).standard_normal(VOCAB).astype(np.float32),
    "slope": lambda seed: jumps(seed) + np.float32(0.05) * OURS,
}


@pytest.mark.parametrize("measure", HIDDEN)
def test_a_small_fault_in_every_position_fails(measure: str) -> None:
    agreement = judged([HIDDEN[measure](seed) for seed in range(6)], turns=None)
    assert measure in failed(agreement)
    assert "position" not in failed(agreement)
    assert agreement.verdict().status == "fail"


def test_positions_without_draws_are_held_against_those_with_draws() -> None:
    agreement, engine = Int8Agreement(), jumps(0)
    agreement.add(0, np.arange(LENGTH), spread(0.3, length=20), OURS, engine)
    assert not failed(agreement)
    engine[LENGTH - 1] *= 5
    agreement.add(1, np.arange(LENGTH), spread(0.3, length=20), OURS, engine)
    assert "position" in failed(agreement)
    assert agreement.first == {"window": 1, "position": LENGTH - 1}


def test_a_policy_s_limit_scales_every_measure() -> None:
    agreement = judged([jumps(seed, size=1e-4) for seed in range(2)], turns=1e-9)
    verdict = agreement.verdict()
    assert verdict.observed == pytest.approx(10 * agreement.measured()["onset"] / 6)
    assert agreement.verdict(100.0).status == "pass"
    assert agreement.verdict(100.0).observed == verdict.observed


@pytest.mark.parametrize(("windows", "total"), [(1, 20.0), (2, 30.0), (10, 50.0)])
def test_the_probability_of_beginnings_is_that_of_a_gamma_variable(windows: int, total: float) -> None:
    from scipy.stats import gamma

    agreement = Int8Agreement()
    agreement._windows, agreement._begun = windows, {b"": math.exp(-total)}
    assert agreement.measured()["onset"] == pytest.approx(-math.log10(gamma(windows).sf(total)), rel=1e-9)
