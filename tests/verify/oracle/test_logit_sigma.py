"""The standard deviation of logits under rounding is that of a float32 pass, within a factor."""

from __future__ import annotations

import numpy as np
import torch
from helpers.mistake_files import hyperparameters
from helpers.models import arrays, config

from verify.oracle import llama
from verify.oracle.logit_sigma import LogitNoise, logit_sigma

MODEL = config()
WEIGHTS = {name: torch.from_numpy(array) for name, array in arrays(MODEL).items()}
TOKENS = torch.from_numpy(np.random.default_rng(0).integers(0, 29, (2, 12)))


def test_the_same_seed_gives_the_same_numbers_and_all_are_positive() -> None:
    one, again = (logit_sigma(hyperparameters(MODEL), WEIGHTS.__getitem__, TOKENS, seed=5) for _ in range(2))
    assert one.shape == (2, 12, 29)
    assert torch.equal(one, again)
    assert (one > 0).all()


def test_a_float32_pass_is_a_few_deviations_from_float64() -> None:
    hyper, load = hyperparameters(MODEL), WEIGHTS.__getitem__
    sigma = logit_sigma(hyper, load, TOKENS, seed=0).double()
    exact, single = (llama.logits(hyper, load, TOKENS, dtype) for dtype in (torch.float64, torch.float32))
    scores = (single.double() - exact).abs() / sigma
    assert 0.05 < float(scores.median()) < 3
    assert float(scores.max()) < 10


def test_a_model_of_zeros_keeps_a_least_deviation() -> None:
    zeros = {name: torch.zeros_like(array) for name, array in WEIGHTS.items()}
    assert (logit_sigma(hyperparameters(MODEL), zeros.__getitem__, TOKENS, seed=0) == 2.0**-72).all()


def noise_of(tokens: torch.Tensor, **more: int) -> LogitNoise:
    hyper, load = hyperparameters(MODEL), WEIGHTS.__getitem__
    return LogitNoise(hyper, load, tokens, llama.logits(hyper, load, tokens).numpy(), 3, **more)


def test_draws_at_the_first_positions_change_nothing_after_them_but_the_means() -> None:
    """A position depends on none after it, so a draw of the first ones is a draw of them."""
    noise = noise_of(TOKENS)
    noise.draw()
    before, squares = noise.draws.clone(), noise._squares.clone()
    assert noise.window(0).refine(4)
    assert before.unique().tolist() == [1]
    assert noise.draws.flatten().tolist() == [2] * 5 + [1] * 7
    assert torch.equal(noise._squares[:, 5:], squares[:, 5:])
    assert (noise._squares[:, :5] > squares[:, :5]).all()
    assert noise.window(1).draws == 2


def test_every_draw_and_every_seed_is_another() -> None:
    hyper, load = hyperparameters(MODEL), WEIGHTS.__getitem__
    drawn = []
    for seed in (3, 4):
        noise, before = LogitNoise(hyper, load, TOKENS, llama.logits(hyper, load, TOKENS).numpy(), seed), 0.0
        for _ in range(40):
            noise.draw()
            total = float(noise._squares.double().sum())
            drawn.append(total - before)
            before = total
    assert len({f"{one:.6g}" for one in drawn}) > 70


def test_the_draws_are_doubled_until_there_are_32() -> None:
    noise = noise_of(TOKENS)
    noise.draw()
    sigma = noise.window(1)
    counts = []
    while sigma.refine(11):
        counts.append(sigma.draws)
    assert counts == [2, 4, 8, 16, 32]
    assert noise.draws.unique().tolist() == [32]


def test_one_draw_and_many_estimate_the_same_variance() -> None:
    tokens = torch.from_numpy(np.random.default_rng(1).integers(0, 29, (8, 24)))
    few, many = (noise_of(tokens) for _ in range(2))
    few.draw()
    many.draw(16)
    ratios = [
        float(few.sigma(row, slice(None)).square().mean() / many.sigma(row, slice(None)).square().mean())
        for row in range(8)
    ]
    assert 0.6 < np.mean(ratios) < 1.6


def test_two_sides_that_round_have_twice_the_variance() -> None:
    one, two = noise_of(TOKENS), noise_of(TOKENS, rounders=2)
    for noise in (one, two):
        noise.draw()
    assert torch.allclose(two.sigma(1, slice(2, 7)).square(), 2 * one.sigma(1, slice(2, 7)).square(), rtol=1e-6)


def test_a_window_is_read_in_any_blocks() -> None:
    noise = noise_of(TOKENS)
    noise.draw(2)
    sigma = noise.window(1)
    assert sigma.shape == (12, 29)
    assert np.array_equal(np.concatenate([sigma[slice(0, 5)], sigma[slice(5, 12)]]), sigma[:])
