"""A mixture of experts computed in float32 is within every bound, and whatever is done wrong in it is found."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from verify.checks.operations import Operations
from verify.operations.experts import judge_routed, recorded_choice
from verify.operations.recompute import Recompute
from verify.oracle import experts, llama
from verify.oracle.rounding_noise import Noise, largest
from verify.sources import Hyperparameters, LayerKind

PREFIX = "layers.0.feed_forward."
Recorded = dict[str, torch.Tensor]


def mixture_of(**changes: Any) -> Hyperparameters:
    sizes: dict[str, Any] = {
        **{"dim": 12, "hidden_dim": 7, "n_layers": 1, "n_heads": 2, "n_kv_heads": 1, "head_dim": 6},
        **{"vocab_size": 11, "max_seq_len": 16, "tied": False, "norm_eps": 1e-5, "rope_theta": 1e4},
        **{"n_experts": 5, "n_active_experts": 2, "expert_hidden_dim": 7},
    }
    return Hyperparameters(**{**sizes, "layers": (LayerKind(experts=True),), **changes})


def weights_of(hyper: Hyperparameters, seed: int = 0) -> Recorded:
    rng = np.random.default_rng(seed)
    return {
        name: torch.from_numpy((rng.standard_normal(shape) / shape[-1] ** 0.5).astype(np.float32))
        for name, shape in hyper.shapes().items()
    }


def stream(hyper: Hyperparameters, seed: int = 0, length: int = 6) -> torch.Tensor:
    rng = np.random.default_rng(seed + 1)
    return torch.from_numpy(rng.standard_normal((2, length, hyper.dim)).astype(np.float32))


class ByShares(Noise):
    """An engine compares shares, of which several may be 0."""

    def chosen(self, _layer: int, logits: torch.Tensor, count: int) -> torch.Tensor:
        return largest(torch.softmax(logits, -1), count)


def recorded(hyper: Hyperparameters, weights: Recorded, h: torch.Tensor) -> Recorded:
    """What an engine in float32 records."""
    at: Recorded = {}

    def watch(operation: str, y: torch.Tensor) -> torch.Tensor:
        at[operation] = y
        return y

    def gated(gate: torch.Tensor, up: torch.Tensor) -> torch.Tensor:
        return llama.activated(gate, up, hyper.activation, Noise())

    experts.mixture(hyper, 0, h, weights.__getitem__, llama.unrounded, gated, ByShares(), watch)
    return at


def judged(hyper: Hyperparameters, weights: Recorded, at: Recorded, h: torch.Tensor) -> Operations:
    recompute = Recompute(hyper, weights.__getitem__, lambda _name: None, "fp32", "mirror")
    found = Operations()
    for one in recompute._experts(at, h, PREFIX):
        found.add("fp32", 0, [0, 1], one)
    return found


def failures(hyper: Hyperparameters, weights: Recorded, at: Recorded, h: torch.Tensor) -> list[str]:
    return [failure.operation for failure in judged(hyper, weights, at, h).failures]


@given(st.data())
def test_float32_is_within_every_bound(data: st.DataObject) -> None:
    many = data.draw(st.integers(2, 9))
    hyper = mixture_of(
        n_experts=many,
        n_active_experts=data.draw(st.integers(1, many)),
        expert_hidden_dim=data.draw(st.integers(1, 20)),
        experts_normalized=data.draw(st.booleans()),
    )
    seed = data.draw(st.integers(0, 999))
    gain = data.draw(st.sampled_from([1e-20, 1.0, 40.0, 1e4]))
    weights, h = weights_of(hyper, seed), stream(hyper, seed) * np.float32(gain)
    found = judged(hyper, weights, recorded(hyper, weights, h), h)
    assert found.failures == []
    every = ["router", "routed", "expert_gate", "expert_up", "expert_gated", "expert_down", "down"]
    assert [report.operation for report in found.layers] == every


def test_a_choice_that_the_recorded_logits_do_not_explain_is_found() -> None:
    hyper = mixture_of()
    weights, h = weights_of(hyper), stream(hyper)
    at = recorded(hyper, weights, h)
    at["routed"] = at["routed"].roll(1, -1)
    assert failures(hyper, weights, at, h)[0] == "routed"


@pytest.mark.parametrize("normalized", [False, True])
def test_shares_that_are_not_divided_or_needlessly_divided_are_found(normalized: bool) -> None:
    hyper = mixture_of(experts_normalized=normalized)
    weights, h = weights_of(hyper), stream(hyper)
    at = recorded(mixture_of(experts_normalized=not normalized), weights, h)
    assert failures(hyper, weights, at, h) == ["routed"]


@pytest.mark.parametrize("count", [1, 3])
def test_one_expert_too_few_or_too_many_is_found(count: int) -> None:
    hyper = mixture_of()
    weights, h = weights_of(hyper), stream(hyper)
    at = recorded(hyper, weights, h) | {"routed": recorded(mixture_of(n_active_experts=count), weights, h)["routed"]}
    assert failures(hyper, weights, at, h)[0] == "routed"


def test_a_wrong_weight_of_one_expert_is_found_at_its_row_and_column() -> None:
    hyper = mixture_of()
    weights, h = weights_of(hyper), stream(hyper, length=40)
    at = recorded(hyper, weights, h)
    for matrix, operation in (("w1", "expert_gate"), ("w2", "expert_down"), ("w3", "expert_up")):
        name = f"{PREFIX}experts.3.{matrix}.weight"
        moved = weights[name].clone()
        moved[4, 5] -= 0.25
        (failure,) = judged(hyper, weights | {name: moved}, at, h).failures
        assert (failure.operation, failure.where["tensor"]) == (operation, name)
        assert (failure.where["row"], failure.where["column"], failure.where["rows"]) == (4, 5, 1)
        assert failure.where["delta"] == pytest.approx(0.25, rel=1e-3)


def test_a_part_that_is_left_out_of_the_sum_is_found() -> None:
    hyper = mixture_of()
    weights, h = weights_of(hyper), stream(hyper)
    at = recorded(hyper, weights, h)
    at["down"] = at["down"] - at["expert_down"][..., :12] * 0.01
    assert failures(hyper, weights, at, h) == ["down"]


def test_a_share_that_underflows_still_counts_as_chosen() -> None:
    """Of the shares that are all zero, the experts with the lowest numbers are chosen."""
    hyper = mixture_of(n_active_experts=3)
    logits = torch.tensor([[[-900.0, 5.0, -800.0, 0.0, -700.0]]])
    routed = torch.softmax(logits, -1)
    assert recorded_choice(hyper, routed).tolist() == [[[0, 1, 3]]]
    found = judge_routed(hyper, {"router": logits, "routed": routed})
    assert float(((found.out - found.exact).abs() - found.bound).max()) <= 0


def test_a_nan_is_within_no_bound() -> None:
    hyper = mixture_of()
    weights, h = weights_of(hyper), stream(hyper)
    at = recorded(hyper, weights, h)
    for name in at:
        spoiled = at[name].clone()
        spoiled[0, 0, 0] = torch.nan
        assert failures(hyper, weights, at | {name: spoiled}, h)[0] == name


def test_nearly_equal_experts_may_be_chosen_either_way() -> None:
    hyper = mixture_of(n_experts=3, n_active_experts=1)
    logits = torch.tensor([[[1.0, np.nextafter(np.float32(1), np.float32(2)), -1.0]]])
    for chosen in (0, 1):
        share = float(torch.softmax(logits.double(), -1)[0, 0, chosen])
        routed = torch.zeros(1, 1, 3)
        routed[0, 0, chosen] = share
        found = judge_routed(hyper, {"router": logits, "routed": routed})
        assert float(((found.out - found.exact).abs() - found.bound).max()) <= 0
    routed = torch.tensor([[[0.0, 0.0, float(torch.softmax(logits, -1)[0, 0, 2])]]])
    found = judge_routed(hyper, {"router": logits, "routed": routed})
    assert float(((found.out - found.exact).abs() - found.bound).max()) > 0
