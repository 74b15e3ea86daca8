"""The spread of two healthy engines with int8 activations: float rounding up to the first turn, jumps from there."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from helpers.engine_trials import Bench

from verify.oracle import llama
from verify.oracle.int8_noise import CROWDED, TELLING, Draws, DrawsNoise, _Activations, half_away, int8_spread
from verify.oracle.logit_sigma import logit_sigma

TOKENS = torch.from_numpy(np.random.default_rng(0).integers(0, 96, 48))


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Bench:
    return Bench(tmp_path_factory.mktemp("bench"), "q8_0")


def grouped(size: int) -> Callable[[str], int]:
    return lambda _name: size


def test_without_q8_0_there_are_no_turns_and_the_sigma_is_that_of_float32_rounding(bench: Bench) -> None:
    spread = int8_spread(bench.hyper, bench.load, grouped(0), TOKENS, TELLING, seed=0)
    assert spread.turns is not None
    assert spread.sigma is not None
    assert not spread.turns.any()
    plain = logit_sigma(bench.hyper, bench.load, TOKENS.unsqueeze(0), seed=0)[0]
    ratio = float((spread.sigma.square().mean() / plain.square().mean()).sqrt())
    # three programs round instead of one
    assert ratio == pytest.approx(3**0.5, rel=0.15)


def test_jumps_are_far_larger_than_the_spread_before_the_first_turn(bench: Bench) -> None:
    spread = int8_spread(bench.hyper, bench.load, grouped(32), TOKENS, TELLING, seed=0)
    assert spread.sigma is not None
    assert float(spread.apart.min()) > 1000 * float(spread.sigma.max())
    assert spread.live.shape == (TELLING.live, *spread.sigma.shape)
    assert spread.apart.shape == (len(TOKENS),)


def test_turns_expected_are_turns_that_happen(bench: Bench) -> None:
    """Over many windows, the reader's two arithmetics begin to differ about as often as is expected, or less."""
    expected = happened = 0.0
    for seed in range(40):
        tokens = np.random.default_rng(seed).integers(0, 96, 8)
        spread = int8_spread(bench.hyper, bench.load, grouped(32), torch.from_numpy(tokens), TELLING, seed)
        assert spread.turns is not None
        assert spread.sigma is not None
        expected += float(-torch.expm1(-spread.turns.sum()))
        one, other = (
            bench.model.forward(tokens, activations="q8", arithmetic=arithmetic) for arithmetic in ("mirror", "fast")
        )
        happened += bool((np.abs(one - other) > 10 * spread.sigma.numpy()).any())
    assert 0 < happened <= expected < 40


def test_where_an_activation_lies_at_a_half_a_turn_is_even_odds() -> None:
    """One product whose activations are 127 and 2.5 steps."""
    x = torch.tensor([[[127.0, 2.5]]]).repeat(1 + len(TELLING.scales), 1, 1)
    activations = _Activations(grouped(2), DrawsNoise(TELLING.scales, 0), TELLING, 0)
    made = activations(x, "any")
    assert activations.turns.tolist() == pytest.approx([0.5], abs=1e-6)
    assert {float(value) for value in made[:, 0, 1]} <= {2.0, 3.0}
    assert made[:, 0, 0].tolist() == [127.0] * len(made)
    # read by another product, they turn together
    assert activations(x, "another") is made
    assert activations.turns.tolist() == pytest.approx([0.5], abs=1e-6)


def test_crowded_draws_leave_out_what_says_nothing_there(bench: Bench) -> None:
    spread = int8_spread(bench.hyper, bench.load, grouped(32), TOKENS, CROWDED, seed=0)
    assert spread.sigma is None
    assert spread.turns is None
    assert len(spread.live) == CROWDED.live


def test_the_same_seed_gives_the_same_spread(bench: Bench) -> None:
    one, other = (
        int8_spread(bench.hyper, bench.load, grouped(32), TOKENS, Draws(1, 1, 1), seed=3).apart for _ in range(2)
    )
    assert torch.equal(one, other)


def test_halves_are_rounded_away_from_zero() -> None:
    assert half_away(torch.tensor([0.5, -0.5, 2.5, -2.5, 0.4999, 126.5])).tolist() == [1, -1, 3, -3, 0, 127]


def test_products_read_what_the_hook_returns(bench: Bench) -> None:
    read: list[str] = []

    def inputs(x: torch.Tensor, matrix: str) -> torch.Tensor:
        read.append(matrix)
        return 0 * x if matrix == "output.weight" else x

    logits = llama.logits(bench.hyper, bench.load, TOKENS.unsqueeze(0), inputs=inputs)
    assert not logits.any()
    matrices = [name for name, shape in bench.hyper.shapes().items() if len(shape) == 2]
    assert sorted(read) == sorted(set(matrices) - {"tok_embeddings.weight"})
