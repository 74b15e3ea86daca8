"""Numbers are read off an engine's logits with the digits that it has, and none is where there is none."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from helpers.models import arrays, config, hyperparameters

from verify.engine.hint_fits import fitted_references
from verify.engine.hint_reference import MistakenReference, logits_of
from verify.engine.hints import mistaken_references
from verify.oracle import llama
from verify.oracle.logit_sigma import logit_sigma
from verify.sources import Hyperparameters

HYPER = hyperparameters(config())
WEIGHTS = {name: torch.from_numpy(array) for name, array in arrays(config()).items()}
TOKENS = torch.from_numpy(np.random.default_rng(0).integers(0, HYPER.vocab_size, 20))


def load(name: str) -> torch.Tensor:
    return WEIGHTS[name]


RIGHT = llama.logits(HYPER, load, TOKENS[None]).numpy()[0]
SIGMA = logit_sigma(HYPER, load, TOKENS[None], seed=0).double().numpy()[0]


def read_off(logits: torch.Tensor) -> dict[str, str]:
    """{name of the mistake: sentence} of every number that explains all positions."""
    engine = logits.numpy().astype(np.float32).astype(np.float64)
    found = fitted_references(HYPER, load, TOKENS, engine, RIGHT, SIGMA)
    return {
        one.mistake.name: one.sentence
        for one in found
        if (np.abs(logits_of(one, TOKENS).numpy() - engine) <= 10 * SIGMA).all()
    }


def other(**changes: float) -> torch.Tensor:
    hyper: Hyperparameters = replace(HYPER, **changes)  # type: ignore[arg-type]
    return llama.logits(hyper, load, TOKENS[None], torch.float32)[0]


@pytest.mark.parametrize("theta", [20000.0, 10001.0, 5000.0, 12345.0])
def test_theta_is_read_off(theta: float) -> None:
    expected = f"computes RoPE with theta {theta:g} instead of {HYPER.rope_theta:g}"
    assert read_off(other(rope_theta=theta)) == {"rope-theta": expected}


@pytest.mark.parametrize("eps", [2e-5, 3e-6, 1.1e-5])
def test_epsilon_is_read_off(eps: float) -> None:
    expected = f"computes RMSNorm with epsilon {eps:g} instead of {HYPER.norm_eps:g}"
    assert read_off(other(norm_eps=eps)) == {"norm-eps": expected}


def scaled(operation: str, factor: float) -> torch.Tensor:
    def make(_hyper: Hyperparameters, _rotation: torch.Tensor | None) -> llama.Watch:
        return lambda name, y: y * factor if name == operation else y

    known = next(iter(mistaken_references(HYPER, load, 0)))
    return logits_of(MistakenReference(known.mistake, "", HYPER, load, make), TOKENS, torch.float32)


@pytest.mark.parametrize("factor", [1.1, 1.001, 0.5, 3.0])
def test_a_factor_of_scores_or_of_activations_is_read_off(factor: float) -> None:
    assert read_off(scaled("scores", factor)) == {
        "scores-scaled": f"multiplies attention scores by {factor:g}, beside their scale"
    }
    assert read_off(scaled("gated", factor)) == {
        "activation-scaled": f"multiplies silu's result (or up (w3), or what w2 gives) by {factor:g}"
    }


@pytest.mark.parametrize("factor", [0.5, 1.1])
def test_a_factor_of_what_is_added_to_the_stream_is_read_off(factor: float) -> None:
    expected = f"multiplies by {factor:g} what each half adds to the residual stream"
    assert read_off(other(residual_scale=factor))["residual-scaled"] == expected


def test_noise_gives_no_number() -> None:
    assert set(read_off(other())) <= {
        "rope-theta",
        "scores-scaled",
        "activation-scaled",
        "stage-scaled",
        "norm-eps",
        "embedding-scaled",
        "residual-scaled",
    }
    noisy = torch.from_numpy(RIGHT * (1 + 1e-3 * np.random.default_rng(0).normal(size=RIGHT.shape)))
    assert read_off(noisy) == {}
    assert read_off(torch.from_numpy(np.full_like(RIGHT, np.nan))) == {}
