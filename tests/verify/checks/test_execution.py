"""The worst logit of all windows is judged, in standard deviations of rounding."""

from __future__ import annotations

import numpy as np
import pytest

from verify.checks import logit_blocks
from verify.checks.execution import LIMIT_SIGMAS, Execution, worst_logit

SHAPE = (2, 5)


def logits(**changes: float) -> np.ndarray:
    found = np.zeros(SHAPE, np.float32)
    for place, value in changes.items():
        found[int(place[1]), int(place[2])] = value
    return found


def judged(*windows: np.ndarray) -> Execution:
    found = Execution()
    for number, engine in enumerate(windows):
        found.add(number, np.zeros(SHAPE), np.full(SHAPE, 0.01), engine)
    return found


def test_the_worst_logit_of_all_windows_is_the_verdict_s() -> None:
    found = judged(logits(p01=0.05), logits(p13=-0.2)).verdict("it", 10.0)
    assert (found.status, found.observed, found.limit) == ("fail", pytest.approx(20), 10.0)
    assert {key: found.where[key] for key in ("window", "position", "index")} == {
        "window": 1,
        "position": 1,
        "index": 3,
    }
    assert found.detail == (
        "20 logits of it against PyTorch on the same weights: largest difference 0.2, "
        "20.00 standard deviations of float32 rounding"
    )


def test_a_logit_just_beyond_the_limit_does_not_read_as_the_limit() -> None:
    assert "10.001 standard" in judged(logits(p00=0.10001)).verdict("it", 10.0).detail


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_what_is_not_finite_fails(value: float) -> None:
    found = judged(logits(), logits(p02=value)).verdict("it")
    assert (found.status, found.observed, found.where["window"]) == ("fail", np.inf, 1)
    assert "largest difference inf, inf standard deviations" in found.detail


def test_windows_may_be_gathered_apart() -> None:
    whole = judged(*(windows := [logits(p01=0.05), logits(p13=0.02), logits(p00=0.03)]))
    first, rest = judged(windows[0]), Execution()
    for number in (1, 2):
        rest.add(number, np.zeros(SHAPE), np.full(SHAPE, 0.01), windows[number])
    first.merge(rest.found)
    assert first.found == whole.found
    assert first.verdict("it") == whole.verdict("it")


def test_nothing_to_compare_is_skipped_and_without_noise_only_equality_passes() -> None:
    assert Execution().verdict("it").status == "skipped"
    for value, status in ((0.0, "pass"), (1e-30, "fail")):
        found = Execution()
        found.add(0, np.zeros(SHAPE), np.zeros(SHAPE), logits(p00=value))
        assert found.verdict("it").status == status
    with pytest.raises(ValueError, match="logits"):
        Execution().add(0, np.zeros((1, 5)), np.zeros(SHAPE), logits())


class Draws:
    """Standard deviations that take the next values at each refinement."""

    def __init__(self, *values: float) -> None:
        self.values, self.positions = list(values), list[int]()
        self.shape = SHAPE

    def __getitem__(self, positions: slice) -> np.ndarray:
        return np.full(SHAPE, self.values[0], np.float32)[positions]

    def refine(self, position: int) -> bool:
        self.positions.append(position)
        if len(self.values) > 1:
            del self.values[0]
            return True
        return False


@pytest.mark.parametrize(
    ("values", "refined", "sigmas"),
    [
        ([0.1, 9.0], 0, 8.0),  # as near as one draw has to show
        ([0.0999, 0.2, 9.0], 1, 4.0),
        ([0.01, 0.02, 0.05, 0.1], 3, 8.0),
        ([0.01, 0.02, 0.05], 3, 16.0),  # no more draws: the limit decides
        ([0.8 / 10_001], 0, 10_001.0),  # as far as no draw changes
        ([0.8 / 9_999, 0.1], 1, 8.0),
    ],
)
def test_more_draws_are_made_until_a_window_is_clear(values: list[float], refined: int, sigmas: float) -> None:
    sigma = Draws(*values)
    found = worst_logit(7, np.zeros(SHAPE), sigma, logits(p13=0.8), 10.0)
    assert found.sigmas == pytest.approx(sigmas, rel=1e-5)
    assert sigma.positions == [1] * refined
    assert (found.where["window"], found.where["position"], found.where["index"]) == (7, 1, 3)


def test_clear_is_measured_by_the_policy_s_limit() -> None:
    sigma = Draws(0.1, 1.0)
    assert worst_logit(0, np.zeros(SHAPE), sigma, logits(p13=0.8), 5.0).sigmas == pytest.approx(0.8)
    assert sigma.positions == [1]


def test_logits_that_are_not_finite_get_no_more_draws() -> None:
    sigma = Draws(0.1, 1.0)
    assert worst_logit(0, np.zeros(SHAPE), sigma, logits(p13=np.nan), 10.0).sigmas == np.inf
    assert not sigma.positions


@pytest.mark.parametrize("block", [1, 4, 5, 9, 10, 34, 35, 1000])
def test_blocks_of_any_size_give_the_same_and_none_is_larger(monkeypatch: pytest.MonkeyPatch, block: int) -> None:
    """A position has five logits; a block of fewer has one position all the same."""
    engine = np.random.default_rng(1).normal(size=(7, 5)) * 0.01
    engine[5, 2] = 0.5
    sizes: list[int] = []

    class Recorded(Execution):
        def _add(self, window: int, first: int, *sides: np.ndarray) -> None:
            sizes.append(sides[0].size)
            super()._add(window, first, *sides)

    monkeypatch.setattr(logit_blocks, "_BLOCK", block)
    found = Recorded()
    found.add(3, np.zeros((7, 5)), np.full((7, 5), 0.01), engine)
    assert found.where == {"window": 3, "position": 5, "index": 2, "expected": 0.0, "found": 0.5}
    assert (found.found.sigmas, found.found.largest, found.found.logits) == (50.0, 0.5, 35)
    full = 5 * max(1, block // 5)
    assert sizes == [full] * (35 // full) + [35 % full] * (35 % full > 0)


@pytest.mark.parametrize("sigma", [np.inf, np.nan])
def test_noise_that_is_not_finite_excuses_nothing(sigma: float) -> None:
    found = Execution()
    found.add(0, np.zeros(SHAPE), np.full(SHAPE, sigma), logits(p01=0.05))
    assert (found.verdict("it").status, found.verdict("it").observed) == ("fail", np.inf)


def test_of_equal_errors_the_first_is_named() -> None:
    found = judged(logits(p01=0.05), logits(p13=0.05))
    assert found.where["window"] == 0
    later = judged(logits(), logits(p13=0.05))
    found.merge(later.found)
    assert (found.where["window"], found.where["index"]) == (0, 1)


def test_the_error_is_what_the_engine_has_more_than_the_reference() -> None:
    found = Execution()
    found.add(0, np.full(SHAPE, 3.0), np.full(SHAPE, 0.01), np.full(SHAPE, 3.05))
    assert found.verdict("it").observed == pytest.approx(5.0)


def test_equal_logits_without_noise_have_no_error() -> None:
    found = Execution()
    found.add(0, np.ones(SHAPE), np.zeros(SHAPE), np.ones(SHAPE))
    assert (found.verdict("it").observed, found.found.largest) == (0.0, 0.0)


def test_the_default_limit_is_ten_standard_deviations() -> None:
    """Far above the 7.0 of the worst of 600 random healthy models."""
    for value, status in ((0.0999, "pass"), (0.1001, "fail")):
        found = judged(logits(p00=value)).verdict("it")
        assert (found.status, found.limit) == (status, LIMIT_SIGMAS)


@pytest.mark.parametrize(
    ("value", "limit", "shown"),
    [(0.1, 5.0, "10.00"), (0.25, 25.0, "25.00"), (0.2500001, 25.0, "25.00001"), (0.1001, 10.0, "10.01")],
)
def test_sigmas_have_two_decimals_unless_they_would_read_as_the_limit(value: float, limit: float, shown: str) -> None:
    found = Execution()
    found.add(0, np.zeros(SHAPE), np.full(SHAPE, 0.01), np.full(SHAPE, value))
    assert found.verdict("it", limit).detail.endswith(f", {shown} standard deviations of float32 rounding")


@pytest.mark.parametrize("place", [0, 1, 2])
def test_all_three_must_have_one_shape(place: int) -> None:
    sides = [np.zeros(SHAPE), np.zeros(SHAPE), np.zeros(SHAPE)]
    sides[place] = np.zeros((2, 4))
    with pytest.raises(ValueError, match="logits"):
        Execution().add(0, *sides)
    with pytest.raises(ValueError, match="logits"):
        Execution().add(0, *(np.zeros((0, 5)),) * 3)


def test_a_thousand_times_the_limit_is_already_far() -> None:
    """In numbers that are exact: a difference of 4,000 units, a noise of one, and a limit of 4."""
    unit = 2.0**-13
    sigma = Draws(unit, 1.0)
    assert worst_logit(0, np.zeros(SHAPE), sigma, logits(p13=4000 * unit), 4.0).sigmas == 4000.0
    assert not sigma.positions


def test_where_noise_changes_some_logits_the_others_are_counted_in_it_and_those_must_be_equal() -> None:
    sigma = np.array([[0.0, 0.01, 0.5, 2.0, 0.01]])
    reference = np.zeros((1, 5))
    found = Execution()
    found.add(0, reference, sigma, np.array([[0.0, 0.0625, 0.5, 2.0, 0.0]]))
    assert (found.found.sigmas, found.where["index"], found.found.largest) == (6.25, 1, 2.0)
    found.add(1, reference, sigma, np.array([[1e-30, 0.0, 0.0, 0.0, 0.0]]))
    assert (found.found.sigmas, found.where["window"]) == (np.inf, 1)


def test_only_the_positions_that_have_noise_are_judged() -> None:
    """Two of seven; the others may be anything."""
    engine = np.zeros((7, 5))
    engine[1, 3], engine[2:] = 0.4, 9.0
    found = worst_logit(0, np.zeros((7, 5)), Draws(0.1), engine, 10.0)
    assert (found.logits, found.where["position"], found.largest) == (10, 1, 0.4)
    assert found.sigmas == pytest.approx(4.0)
    none = Draws(0.1)
    none.shape = (0, 5)
    assert worst_logit(0, np.zeros((7, 5)), none, engine, 10.0) == Execution().found
