"""The shares of chosen experts and their sum beside loops over single numbers."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from helpers.roundings import SLACK, TAU, gamma

from verify.operations import bounds, experts
from verify.sources import Hyperparameters

WINDOWS, LENGTH, EXPERTS, ACTIVE, DIM = 2, 4, 5, 2, 6
RANDOM = torch.Generator().manual_seed(3)
LOGITS = torch.randn(WINDOWS, LENGTH, EXPERTS, generator=RANDOM)
PLACES = [(window, position) for window in range(WINDOWS) for position in range(LENGTH)]


def model(**changes: Any) -> Hyperparameters:
    sizes: dict[str, Any] = {
        **{"dim": DIM, "hidden_dim": 7, "n_layers": 1, "n_heads": 2, "n_kv_heads": 1, "head_dim": 6},
        **{"vocab_size": 11, "max_seq_len": 16, "tied": False, "norm_eps": 1e-5, "rope_theta": 1e4},
        **{"n_experts": EXPERTS, "n_active_experts": ACTIVE, "expert_hidden_dim": 7},
    }
    return Hyperparameters(**{**sizes, **changes})


def best(place: tuple[int, int]) -> list[int]:
    return sorted(sorted(range(EXPERTS), key=lambda one: -float(LOGITS[(*place, one)]))[:ACTIVE])


def worst(place: tuple[int, int]) -> list[int]:
    return sorted(sorted(range(EXPERTS), key=lambda one: float(LOGITS[(*place, one)]))[:ACTIVE])


def test_each_position_s_choice_is_judged_by_its_own_shares() -> None:
    """At every second place the engine chose the least: the shares expected there are those of the largest."""
    out = torch.zeros(WINDOWS, LENGTH, EXPERTS)
    for n, place in enumerate(PLACES):
        for one in worst(place) if n % 2 else best(place):
            out[(*place, one)] = 0.5
    found = experts.judge_routed(model(), {"router": LOGITS, "routed": out})
    for place in PLACES:
        shares = torch.softmax(LOGITS[place].double(), -1)
        for one in range(EXPERTS):
            chosen = one in best(place)
            assert float(found.exact[(*place, one)]) == pytest.approx(
                float(shares[one]) if chosen else 0, rel=1e-12, abs=0
            )
            assert bool(found.bound[(*place, one)] > 0) == chosen
    assert (found.operation, torch.equal(found.out, out.double())) == ("routed", True)


@pytest.mark.parametrize(("bound", "follows"), [(0.0, False), (0.049, False), (0.05, True), (0.06, True)])
def test_a_choice_is_right_up_to_the_very_limit_of_the_bounds(
    monkeypatch: pytest.MonkeyPatch, bound: float, *, follows: bool
) -> None:
    """Of shares a tenth apart, either may be the larger if each may be half of that off."""
    shares = torch.tensor([[[0.5, 0.25, 0.15]]], dtype=torch.float64)
    monkeypatch.setattr(torch, "softmax", lambda *_logits, **_dim: shares)
    exact = shares[..., 1] - shares[..., 2]
    limit = exact / 2 if bound == 0.05 else torch.tensor(bound, dtype=torch.float64)
    monkeypatch.setattr(bounds, "softmax", lambda *_scores: torch.full_like(shares, float(limit)))
    at = {"router": shares.log(), "routed": torch.tensor([[[0.5, 0.0, 0.15]]])}
    found = experts.judge_routed(model(n_experts=3), at)
    assert (found.exact != 0).tolist() == [[[True, not follows, follows]]]


@pytest.mark.parametrize("normalized", [False, True])
def test_only_the_chosen_have_shares_and_a_normalized_choice_adds_up_to_one(normalized: bool) -> None:
    out = torch.zeros(WINDOWS, LENGTH, EXPERTS)
    for place in PLACES:
        out[(*place, best(place))] = 1.0
    found = experts.judge_routed(model(experts_normalized=normalized), {"router": LOGITS, "routed": out})
    for place in PLACES:
        powers = [math.exp(one) for one in LOGITS[place].tolist()]
        total = math.fsum(powers[one] for one in best(place)) if normalized else math.fsum(powers)
        for one in range(EXPERTS):
            exact = powers[one] / total if one in best(place) else 0.0
            assert float(found.exact[(*place, one)]) == pytest.approx(exact, rel=1e-12, abs=0)
            assert bool(found.bound[(*place, one)] > 0) == (one in best(place))


def test_the_sum_is_of_the_chosen_experts_parts_times_their_shares() -> None:
    chosen = torch.tensor([[[0, 3], [1, 2], [3, 4], [0, 1]], [[2, 4], [1, 3], [0, 2], [2, 3]]])
    at = {
        "routed": torch.rand(WINDOWS, LENGTH, EXPERTS, generator=RANDOM),
        "expert_down": torch.randn(WINDOWS, LENGTH, ACTIVE * DIM, generator=RANDOM),
        "down": torch.randn(WINDOWS, LENGTH, DIM, generator=RANDOM),
    }
    found = experts.judge_sum(at, chosen)
    assert (found.operation, torch.equal(found.out, at["down"].double())) == ("down", True)
    for place in PLACES:
        for column in range(DIM):
            parts = [
                float(at["expert_down"][(*place, slot * DIM + column)]) * float(at["routed"][(*place, one)])
                for slot, one in enumerate(chosen[place].tolist())
            ]
            bound = gamma(ACTIVE) * math.fsum(map(abs, parts)) + ACTIVE * TAU / 2
            assert float(found.exact[(*place, column)]) == pytest.approx(math.fsum(parts), rel=1e-12, abs=0)
            assert float(found.bound[(*place, column)]) == pytest.approx(bound * SLACK, rel=1e-6, abs=0)
