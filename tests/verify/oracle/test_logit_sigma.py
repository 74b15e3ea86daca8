"""The standard deviation of logits under rounding is that of a float32 pass, within a factor."""

from __future__ import annotations

import numpy as np
import torch
from helpers.mistake_files import hyperparameters
from helpers.models import arrays, config

from verify.oracle import llama
from verify.oracle.logit_sigma import logit_sigma

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
