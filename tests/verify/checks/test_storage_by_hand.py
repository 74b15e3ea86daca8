"""`storage`: each number against its definition, on windows made by hand. Quick, because no model is computed."""

from __future__ import annotations

import math
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from verify.checks import storage
from verify.checks.storage import (
    LIMIT_SIGMAS,
    HonestCost,
    WindowCost,
    draws_of,
    honest_cost,
    judged_windows,
    lossless,
    positions_of,
    verdict,
    windows_of,
)
from verify.evidence import Window
from verify.oracle.random_rounding import Drawn

FLOAT32 = 2.0**-16


def model_of(*shape: int) -> Any:
    """A model of one tensor."""
    return SimpleNamespace(shapes=lambda: {"w": shape})


def log_kl(source: np.ndarray, other: np.ndarray) -> float:
    """The mean log KL by its definition, in extended precision."""
    p, q = (np.asarray(one, np.longdouble) for one in (source, other))
    p, q = (one - np.log(np.exp(one).sum(-1, keepdims=True)) for one in (p, q))
    kl = (np.exp(p) * (p - q)).sum(-1)
    return float(np.log(kl + (np.abs(source).max(-1) * FLOAT32) ** 2).mean())


class Costs:
    """honest_cost with draws that are given instead of drawn; what was asked for them is kept."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, drawn: list[Drawn]) -> None:
        self.asked: dict[str, Any] = {}

        def given(*asked: Any, **named: Any) -> list[Drawn]:
            self.asked = {"positional": asked, **named}
            return drawn

        monkeypatch.setattr(storage, "drawn_logits", given)

    def of(self, source: np.ndarray, file: np.ndarray, q8: np.ndarray | None = None, **named: Any) -> HonestCost:
        hyper, tokens = named.pop("hyper", model_of(3)), torch.zeros(source.shape[:2], dtype=torch.int64)
        return honest_cost(hyper, "load", "stored", tokens, source, file, q8, **{"seed": 9, **named})  # type: ignore[arg-type]


def drawn(number: int, window: int, logits: np.ndarray, *, int8: bool = False) -> Drawn:
    return Drawn(number, int8, window, torch.from_numpy(logits))


@pytest.mark.parametrize("largest", [1e-3, 1.0, 30.0])
@pytest.mark.parametrize("change", [1e-7, 1e-5, 1e-3, 0.3, 1.0, 1.5, 1.9, 2.5, 5.0])
def test_a_cost_is_the_mean_log_kl_and_what_float32_may_cause(
    monkeypatch: pytest.MonkeyPatch, largest: float, change: float
) -> None:
    """By a form for small changes and another for large: at every position the sum has the accuracy of float64."""
    random = np.random.default_rng(3)
    source = random.uniform(-largest, largest, (1, 40, 7))
    file = source + random.uniform(-change, change, source.shape)
    shifted = source + change * random.choice([-1.0, 1.0], source.shape)
    costs = Costs(monkeypatch, [drawn(0, 0, file[0]), drawn(1, 0, shifted[0])]).of(source, file)
    (found,) = costs.fp32
    assert found.file == pytest.approx(log_kl(source[0], file[0]), abs=1e-3)
    assert found.draws == pytest.approx((found.file, log_kl(source[0], shifted[0])), abs=1e-3)
    assert (found.positions, costs.q8) == (40, ())


def test_a_large_change_may_overflow_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    source = np.zeros((1, 2, 3))
    file = np.array([[[2000.0, 0.0, 0.0], [-2000.0, 0.0, 0.0]]])
    (found,) = Costs(monkeypatch, [drawn(0, 0, file[0])]).of(source, file).fp32
    assert found.file == pytest.approx(
        (math.log(2000 * 2 / 3 - math.log(3)) + math.log(2000 / 3 + math.log(2 / 3))) / 2
    )


def test_equal_logits_cost_what_float32_may_cause_and_a_constant_changes_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    source = np.array([[[1.0, -4.0, 2.0], [0.5, 0.25, -0.125]]])
    (found,) = Costs(monkeypatch, [drawn(0, 0, source[0] + 8)]).of(source, source).fp32
    expected = (math.log((4 * FLOAT32) ** 2) + math.log((0.5 * FLOAT32) ** 2)) / 2
    assert (found.file, *found.draws) == pytest.approx((expected, expected), rel=1e-9)
    zeros = np.zeros((1, 2, 3))
    (found,) = Costs(monkeypatch, [drawn(0, 0, zeros[0])]).of(zeros, zeros).fp32
    assert found.file == pytest.approx(math.log(np.finfo(np.float64).tiny))


def test_each_draw_belongs_to_its_window_and_its_kind_of_activations(monkeypatch: pytest.MonkeyPatch) -> None:
    random = np.random.default_rng(0)
    source, file, q8, *draws = random.normal(size=(7, 2, 4, 3))
    given = [
        drawn(number, window, logits[window], int8=int8)
        for number in range(2)
        for int8, logits in ((False, draws[number]), (True, draws[number + 2]))
        for window in (0, 1)
    ]
    costs = Costs(monkeypatch, given)
    found = costs.of(source, file, q8)
    for kind, own, first in ((found.fp32, file, 0), (found.q8, q8, 2)):
        assert [one.file for one in kind] == pytest.approx([log_kl(source[w], own[w]) for w in (0, 1)])
        for w in (0, 1):
            expected = [log_kl(source[w], draws[number][w]) for number in (first, first + 1)]
            assert kind[w].draws == pytest.approx(expected)
    assert (costs.asked["int8"], costs.asked["seed"], costs.asked["draws"]) == (True, 9, 16)


def test_draws_are_those_of_the_model_s_size_unless_given(monkeypatch: pytest.MonkeyPatch) -> None:
    logits = np.ones((1, 2, 3))
    costs = Costs(monkeypatch, [drawn(0, 0, logits[0])])
    costs.of(logits, logits, hyper=model_of(1 << 25))
    assert (costs.asked["draws"], costs.asked["int8"]) == (4, False)
    costs.of(logits, logits, hyper=model_of(1 << 25), draws=7)
    assert costs.asked["draws"] == 7


def test_the_number_of_draws_falls_from_16_to_4() -> None:
    weights = {1: 16, 1 << 20: 16, (1 << 24) // 10: 10, (1 << 24) // 7: 7, 1 << 22: 4, (1 << 22) + 1: 4, 1 << 30: 4}
    assert {count: draws_of(model_of(count)) for count in weights} == weights
    assert draws_of(model_of(1 << 11, 1 << 11)) == 4


@pytest.mark.parametrize(("weights", "small"), [((1 << 12, 1 << 12), True), (((1 << 24) + 1,), False)])
def test_models_of_up_to_16_million_weights_are_judged_on_all(weights: tuple[int, ...], small: bool) -> None:
    hyper = model_of(*weights)
    lengths = (1, 63, 64, 65, 1000)
    assert [positions_of(hyper, length) for length in lengths] == [
        length if small else min(length, 64) for length in lengths
    ]
    windows = [Window(np.arange(70), "text")] * 9 + [Window(np.arange(3), "random")]
    chosen = list(range(10)) if small else [*range(7), 9]
    assert windows_of(hyper, windows) == chosen
    cut = judged_windows(hyper, windows)
    assert [(len(one.tokens), one.origin) for one in cut] == [
        (len(windows[number].tokens) if small else min(64, len(windows[number].tokens)), windows[number].origin)
        for number in chosen
    ]
    assert all(list(one.tokens) == list(range(len(one.tokens))) for one in cut)


def test_windows_take_turns_by_origin() -> None:
    origins = ["random", "text", "text", "fixed", "text", "random", *["text"] * 9, "fixed"]
    windows = [Window(np.zeros(2, np.int64), origin) for origin in origins]
    assert windows_of(model_of(1 << 25), windows) == [0, 1, 2, 3, 4, 5, 6, 15]


def test_a_window_counts_by_its_positions() -> None:
    windows = (WindowCost(30, -6.0, (-6.0, -7.0)), WindowCost(10, -2.0, (-3.0, -2.0)))
    found = verdict(HonestCost(windows))
    file, draws = (30 * -6 + 10 * -2) / 40, [(30 * -6 + 10 * -3) / 40, (30 * -7 + 10 * -2) / 40]
    of_draws = np.var(draws, ddof=1)
    of_windows = (30 / 40) ** 2 * 0.5 + (10 / 40) ** 2 * 0.5
    spread = math.sqrt(max(of_draws, of_windows) * 1.5 + 0.03**2)
    assert found.observed == pytest.approx(abs(file - np.mean(draws)) / spread)
    assert found.detail == (
        f"float32 activations: a typical position costs KL {math.exp(file):.3g}, honest rounding "
        f"{math.exp(np.mean(draws)):.3g}: {found.observed:.2f} standard deviations"
    )


def test_the_spread_is_never_below_that_of_the_least() -> None:
    found = verdict(HonestCost((WindowCost(1, -6.0 + 0.15, (-6.0, -6.0)),)))
    assert found.observed == pytest.approx(0.15 / 0.03)


def test_both_kinds_are_described_and_the_worse_is_judged() -> None:
    fine, wrong = WindowCost(4, -6.0, (-6.0, -6.1)), WindowCost(4, -3.0, (-6.0, -6.1))
    less = WindowCost(4, -9.5, (-6.0, -6.1))
    passed = verdict(HonestCost((fine,), (fine,)))
    assert passed.detail.startswith(
        "float32 activations: a typical position costs KL 0.00248, honest rounding 0.00236: "
    )
    assert "; int8 activations: " in passed.detail
    assert (passed.where, passed.bound) == ({"activations": "fp32"}, "statistical")
    failed = verdict(HonestCost((fine,), (wrong,)))
    assert failed.detail.startswith("the file costs more than an honest file of its storage: int8 activations: ")
    assert (failed.where, failed.detail.count("activations")) == ({"activations": "q8"}, 1)
    both = verdict(HonestCost((wrong,), (less,)))
    assert both.detail.startswith("the file costs less than an honest file of its storage: float32 activations: ")
    assert both.detail.count("activations") == 2
    assert both.where == {"activations": "q8"}


def test_a_limit_is_met_at_its_very_value_and_is_six_by_default() -> None:
    cost = HonestCost((WindowCost(4, -5.5, (-6.0, -6.1)),))
    observed = verdict(cost).observed
    assert observed is not None
    assert (verdict(cost).limit, verdict(cost, 1.0).limit) == (LIMIT_SIGMAS, 1.0)
    assert verdict(cost, observed).status == "pass"
    assert not verdict(cost, observed).detail.startswith("the file costs")
    below = verdict(cost, math.nextafter(observed, 0))
    assert (below.status, below.detail.startswith("the file costs more than")) == ("fail", True)
    for share, status in ((0.99, "pass"), (1.01, "fail")):
        at = HonestCost((WindowCost(1, share * 6 * 0.03, (0.0, 0.0)),))
        assert verdict(at).status == status


def test_a_number_that_is_none_is_the_worst() -> None:
    far = WindowCost(4, 90.0, (-6.0, -6.1))
    for costs in (
        HonestCost((WindowCost(4, math.nan, (-6.0, -6.1)),), (far,)),
        HonestCost((far,), (WindowCost(4, math.nan, (-6.0, -6.1)),)),
    ):
        found = verdict(costs)
        assert found.status == "fail"
        assert math.isnan(found.observed or 0.0)


def test_nothing_rounded_and_nothing_compared() -> None:
    assert (lossless().status, lossless().observed, lossless().limit) == ("pass", 0.0, 0.0)
    assert (verdict(HonestCost()).status, verdict(HonestCost()).detail) == ("skipped", "no logits were compared")


def test_windows_whose_draws_move_together_count_by_their_mean() -> None:
    """Their own variances, added as if they were independent, would be too small."""
    windows = (WindowCost(30, -5.0, (-6.0, -7.0)), WindowCost(10, -1.0, (-2.0, -3.0)))
    found = verdict(HonestCost(windows))
    draws = [(30 * -6 + 10 * -2) / 40, (30 * -7 + 10 * -3) / 40]
    spread = math.sqrt(np.var(draws, ddof=1) * 1.5 + 0.03**2)
    assert found.observed == pytest.approx(abs((30 * -5 + 10 * -1) / 40 - np.mean(draws)) / spread)


@pytest.mark.parametrize("finite", [(True, False), (False, True), (False, False), (True, True)])
def test_logits_are_finite_if_those_of_both_halves_are(finite: tuple[bool, bool]) -> None:
    cost = WindowCost(4, -6.0, (-6.0, -6.1))
    first, second = (HonestCost((cost,), finite=one) for one in finite)
    merged = first.merged(second)
    assert (merged.finite, merged.fp32) == (all(finite), (cost, cost))
    found = verdict(merged)
    assert (found.status == "skipped", found.detail == "logits are not finite") == (not all(finite),) * 2
