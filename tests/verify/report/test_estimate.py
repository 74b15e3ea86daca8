"""The time that is left, by a clock of the test's own."""

from __future__ import annotations

import pytest
from helpers.clock import Clock

from verify.report.estimate import Estimate, in_words


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (-3, "0 s"),
        (0.4, "0 s"),
        (59.4, "59 s"),
        (59.6, "1 min"),
        (130, "2 min 10 s"),
        (3599.9, "1 h"),
        (3900, "1 h 5 min"),
        (7200, "2 h"),
    ],
)
def test_times_in_words(seconds: float, words: str) -> None:
    assert in_words(seconds) == words


def test_before_the_plan_there_is_no_estimate() -> None:
    estimate = Estimate(Clock())
    estimate.update("PyTorch", 1, 2)
    assert (estimate.share, estimate.left, estimate.share_of_stage) == (None, None, 0.5)


@pytest.mark.parametrize("slowness", [0.1, 1.0, 10.0])
def test_a_machine_of_any_speed_is_known_after_a_tenth(slowness: float) -> None:
    """Every stage takes the predicted seconds times the same factor, which nobody knows before."""
    clock = Clock()
    estimate, plan = Estimate(clock), {"tensors": 5.0, "windows": 60.0, "operations": 30.0, "report": 5.0}
    estimate.update("PyTorch", 0, 1)
    clock.now += 2
    planned_at = clock.now
    estimate.plan(plan)
    whole = slowness * sum(plan.values())
    shares: list[float] = []
    for stage, seconds in plan.items():
        for step in range(101):
            estimate.update(stage, step, 100)
            assert estimate.share is not None
            assert estimate.left is not None
            shares.append(estimate.share)
            left = whole - (clock.now - planned_at)
            if clock.now - planned_at > whole / 10:
                assert estimate.left == pytest.approx(left, rel=0.25, abs=whole / 100)
            if step < 100:
                clock.now += slowness * seconds / 100
    assert shares == sorted(shares)
    assert shares[-1] == pytest.approx(1)


def test_a_stage_that_was_predicted_wrongly_goes_on_at_its_own_speed() -> None:
    clock = Clock()
    estimate = Estimate(clock)
    estimate.plan({"windows": 10.0, "report": 1.0})
    estimate.update("windows", 0, 100)
    clock.now += 50
    estimate.update("windows", 50, 100)
    assert estimate.left == pytest.approx(50 + 1 * 50 / 5, rel=0.1)


def test_a_stage_outside_the_plan_takes_no_share() -> None:
    clock = Clock()
    estimate = Estimate(clock)
    estimate.plan({"windows": 10.0})
    estimate.update("something", 1, 2)
    assert estimate.share == 0
    estimate.update("windows", 1, 2)
    assert estimate.share == 0.5
