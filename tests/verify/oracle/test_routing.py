"""How certain a choice of experts is, and that noise moves no choice."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch

from verify.oracle import llama
from verify.oracle.int8_noise import TELLING, Draws, _SpreadNoise, int8_spread
from verify.oracle.int8_probes import DRAWS, ROWS, _ProbesNoise, probe_hazard
from verify.oracle.logit_sigma import LogitNoise, logit_sigma
from verify.oracle.rounding_noise import Noise, largest
from verify.oracle.routing import CERTAIN_SIGMAS, RecordingNoise, RoutedNoise, Routing, margins, spread_of
from verify.sources import Hyperparameters, LayerKind

ROUTER = "layers.1.feed_forward.router.weight"
TOKENS = torch.from_numpy(np.random.default_rng(0).integers(0, 11, (2, 9)))


def model_of(**changes: Any) -> Hyperparameters:
    sizes: dict[str, Any] = {
        **{"dim": 12, "hidden_dim": 7, "n_layers": 2, "n_heads": 2, "n_kv_heads": 1, "head_dim": 6},
        **{"vocab_size": 11, "max_seq_len": 16, "tied": False, "norm_eps": 1e-5, "rope_theta": 1e4},
        **{"n_experts": 5, "n_active_experts": 2, "expert_hidden_dim": 7},
    }
    return Hyperparameters(**{**sizes, "layers": (LayerKind(experts=True),) * 2, **changes})


def weights_of(hyper: Hyperparameters, seed: int = 0) -> dict[str, torch.Tensor]:
    rng = np.random.default_rng(seed)
    return {
        name: torch.from_numpy((rng.standard_normal(shape) / shape[-1] ** 0.5 + (len(shape) == 1)).astype(np.float32))
        for name, shape in hyper.shapes().items()
    }


def noise_of(hyper: Hyperparameters, weights: dict[str, torch.Tensor], **more: int) -> LogitNoise:
    load = weights.__getitem__
    noise = LogitNoise(hyper, load, TOKENS, llama.logits(hyper, load, TOKENS).numpy(), 3, **more)
    noise.draw()
    return noise


def test_the_largest_are_chosen_in_ascending_order_and_of_equal_ones_the_lower() -> None:
    logits = torch.tensor([[3.0, 1.0, 3.0, 3.0, 0.0], [0.0, 0.0, 0.0, 0.0, 1.0]])
    assert largest(logits, 2).tolist() == [[0, 2], [0, 4]]
    assert largest(logits, 4).tolist() == [[0, 1, 2, 3], [0, 1, 2, 4]]


def test_a_margin_is_that_of_the_last_chosen_and_the_first_rejected() -> None:
    logits = torch.tensor([[[4.0, 1.0, 3.0, 2.5]]], dtype=torch.float64)
    variance = torch.tensor([[[1.0, 1.0, 0.09, 0.16]]], dtype=torch.float64)
    assert float(margins(logits, variance, 2)) == pytest.approx(0.5 / 0.5)
    assert float(margins(logits, variance, 4)) == math.inf
    assert float(margins(logits.new_zeros(1, 1, 4), variance, 2)) == 0


def test_the_spread_is_that_of_independent_errors() -> None:
    moved = torch.randn(3, 400, 6, generator=torch.Generator().manual_seed(0)) * torch.tensor([1.0, 1, 1, 1, 1, 3])
    found = spread_of(moved).mean((0, 1))
    assert found.tolist() == pytest.approx([1, 1, 1, 1, 1, 9], rel=0.3)


def test_a_healthy_model_is_certain_everywhere() -> None:
    noise = noise_of(model_of(), weights_of(model_of()))
    for row in (0, 1):
        certainty = noise.certainty(row)
        assert certainty.positions == 9
        assert certainty.margin > CERTAIN_SIGMAS
        assert noise.window(row).shape == (9, 11)


def test_two_alike_experts_are_certain_nowhere() -> None:
    hyper = model_of()
    weights = weights_of(hyper)
    weights[ROUTER] = weights[ROUTER][:1].expand(5, -1).clone()
    noise = noise_of(hyper, weights)
    assert noise.certainty(0).positions == 0
    assert noise.certainty(0).margin == 0
    assert noise.window(0).shape == (0, 11)
    assert noise.window(0)[slice(None)].shape == (0, 11)


def test_the_first_position_that_rounding_decides_ends_what_is_judged() -> None:
    """Two experts differ by so little that only positions with a large difference are certain."""
    hyper = model_of(n_active_experts=1)
    weights = weights_of(hyper)
    rows = weights[ROUTER][:1].repeat(5, 1)
    rows[1] += 3e-6 * weights[ROUTER][1]
    rows[2:] = -rows[2:]
    weights[ROUTER] = rows
    routing = Routing()
    llama.last_stream(hyper, weights.__getitem__, TOKENS, torch.float64, RecordingNoise(routing))
    noise = noise_of(hyper, weights)
    unsure = [noise.certainty(row).positions for row in (0, 1)]
    assert any(0 <= positions < 9 for positions in unsure)
    assert all(noise.window(row)[slice(None)].shape == (unsure[row], 11) for row in (0, 1))


def test_two_programs_that_round_have_smaller_margins() -> None:
    hyper = model_of()
    one, two = (noise_of(hyper, weights_of(hyper), rounders=rounders) for rounders in (1, 2))
    assert two.certainty(0).margin == pytest.approx(one.certainty(0).margin / math.sqrt(2))


def test_every_expert_chosen_has_no_margin() -> None:
    hyper = model_of(n_active_experts=5)
    assert noise_of(hyper, weights_of(hyper)).certainty(0).margin == math.inf


def test_a_nan_is_not_certain() -> None:
    hyper = model_of()
    weights = weights_of(hyper)
    weights[ROUTER][0, 0] = torch.nan
    assert noise_of(hyper, weights).certainty(0).positions == 0


def test_draws_keep_the_choice_of_the_exact_pass() -> None:
    noise = Noise(clean=1, draws=2, scale=1.0)
    logits = torch.tensor([[[1.0, 2.0, 3.0]], [[3.0, 2.0, 1.0]], [[2.0, 3.0, 1.0]]])
    assert noise.chosen(0, logits, 2).tolist() == [[[1, 2]]] * 3


def test_a_float32_pass_is_a_few_deviations_from_float64() -> None:
    hyper = model_of()
    load = weights_of(hyper).__getitem__
    sigma = logit_sigma(hyper, load, TOKENS, seed=0).double()
    exact, single = (llama.logits(hyper, load, TOKENS, dtype) for dtype in (torch.float64, torch.float32))
    scores = (single.double() - exact).abs() / sigma
    assert 0.05 < float(scores.median()) < 3
    assert float(scores.max()) < 10


def test_choices_that_may_turn_count_as_turns_of_int8_activations() -> None:
    hyper = model_of()
    weights = weights_of(hyper)
    healthy = int8_spread(hyper, weights.__getitem__, lambda _name: 0, TOKENS[0], TELLING, seed=0)
    assert healthy.turns is not None
    assert float(healthy.turns.max()) < 1e-6
    weights[ROUTER] = weights[ROUTER][:1].expand(5, -1).clone()
    alike = int8_spread(hyper, weights.__getitem__, lambda _name: 0, TOKENS[0], TELLING, seed=0)
    assert alike.turns is not None
    assert float(alike.turns.min()) == pytest.approx(0.5)


def test_probes_keep_the_choices_of_earlier_positions() -> None:
    hyper = model_of(expert_hidden_dim=8)
    load = weights_of(hyper).__getitem__
    hazard = probe_hazard(hyper, load, lambda _name: 4, TOKENS[:, :3], 1.0, seed=0)
    assert hazard.moved.shape == (2, 11)
    assert torch.isfinite(hazard.moved).all()


# What the router of three experts says, and what it says where rounding moved it: (rows, positions, experts).
CLEAN, MOVED = [1.0, 2.0, 3.0], [3.0, 2.0, 1.0]


def test_a_recorded_choice_stays_whatever_noise_does() -> None:
    routing = Routing()
    recorded = RecordingNoise(routing).chosen(0, torch.tensor([[CLEAN, MOVED]]), 1)
    assert recorded.tolist() == [[[2], [0]]]
    noise = RoutedNoise(routing, 1.0, 0, 1)
    assert noise.chosen(0, torch.tensor([[MOVED, CLEAN]]), 1).tolist() == [[[2], [0]]]
    # a draw of the first positions alone
    assert noise.chosen(0, torch.tensor([[MOVED]]), 1).tolist() == [[[2]]]


def test_frozen_draws_keep_the_choice_and_live_ones_choose_anew() -> None:
    noise = _SpreadNoise(Draws(frozen=2, live=1, apart=1), seed=0)
    logits = torch.tensor([[CLEAN], [MOVED], [MOVED], [MOVED], [CLEAN]])
    assert noise.chosen(0, logits, 1).flatten().tolist() == [2, 2, 2, 0, 2]


def test_draws_of_probes_keep_the_choices_of_the_positions_that_are_kept() -> None:
    frozen = ROWS - 1 - DRAWS
    noise = _ProbesNoise(1, 1.0, 0, [2] * frozen + [1] * DRAWS)
    logits = torch.tensor([[CLEAN, CLEAN], *[[MOVED, MOVED]] * (ROWS - 1)])
    assert noise.chosen(0, logits, 1).squeeze(-1).tolist() == [[2, 2]] * (1 + frozen) + [[2, 0]] * DRAWS


def test_choices_that_the_reference_recorded_are_those_of_a_pass_for_them_alone() -> None:
    hyper = model_of()
    weights = weights_of(hyper)
    loaded: list[str] = []

    def load(name: str) -> torch.Tensor:
        loaded.append(name)
        return weights[name]

    alone = noise_of(hyper, weights)
    routing = Routing()
    exact = llama.logits(hyper, load, TOKENS, noise=RecordingNoise(routing))
    assert torch.equal(exact, llama.logits(hyper, weights.__getitem__, TOKENS))
    loaded.clear()
    noise = LogitNoise(hyper, load, TOKENS, exact.numpy(), 3, routing=routing)
    assert not loaded
    noise.draw()
    assert noise.certainty(0) == alone.certainty(0)
    assert noise.window(0)[:].tobytes() == alone.window(0)[:].tobytes()
