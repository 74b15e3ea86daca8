"""The worst logit of all windows is judged, in standard deviations of rounding."""

from __future__ import annotations

import numpy as np
import pytest

from verify.checks.execution import Execution, worst_logit

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
