"""Mistakes with right logits: each sentence has the engine's numbers, with the fewest digits that explain them."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from verify.engine.hint_logits import mistaken_logits

RIGHT = 8 * np.random.default_rng(0).standard_normal((30, 50))


def explained(engine: np.ndarray) -> tuple[str, str]:
    """The first mistake that gives the engine's logits."""
    for mistake, sentence, made in mistaken_logits(RIGHT, engine):
        if np.abs(made - engine).max() < 1e-5:
            return mistake.name, sentence
    return "", ""


@pytest.mark.parametrize(
    ("engine", "name", "sentence"),
    [
        (RIGHT * 1.00001, "logits-scaled", "multiplies the logits by 1.00001"),
        (RIGHT / 0.7, "logits-scaled", "divides the logits by 0.7"),
        (RIGHT * 0.5, "logits-scaled", "divides the logits by 2"),
        (-RIGHT, "logits-scaled", "multiplies the logits by -1"),
        (RIGHT + 0.25, "logits-offset", "adds 0.25 to every logit"),
        (RIGHT - 3, "logits-offset", "adds -3 to every logit"),
        (30 * np.tanh(RIGHT / 30), "logits-capped", "caps the logits at 30 by tanh"),
        (42.5 * np.tanh(RIGHT / 42.5), "logits-capped", "caps the logits at 42.5 by tanh"),
        (
            RIGHT - np.log(np.exp(RIGHT).sum(axis=1, keepdims=True)),
            "logits-normalised",
            "gives log-probabilities instead of logits",
        ),
        (
            np.exp(RIGHT) / np.exp(RIGHT).sum(axis=1, keepdims=True),
            "logits-normalised",
            "gives probabilities instead of logits",
        ),
        (np.roll(RIGHT, -1, axis=1), "rows-shifted", "reads the classifier one row off: the row after"),
        (np.roll(RIGHT, 1, axis=1), "rows-shifted", "reads the classifier one row off: the row before"),
        (
            np.vstack((RIGHT[:1], RIGHT[:-1])),
            "logits-late",
            "gives each position the logits of the position before",
        ),
        (RIGHT * np.linspace(1, 2, 50), "", ""),
    ],
)
def test_each_is_explained(engine: np.ndarray, name: str, sentence: str) -> None:
    assert explained(engine) == (name, sentence)


@pytest.mark.parametrize(("begin", "which"), [(0, "tokens that have been"), (1, "tokens that have been before")])
def test_a_repetition_penalty_is_read_off(begin: int, which: str) -> None:
    tokens, engine = np.random.default_rng(1).integers(0, 50, 30), RIGHT.copy()
    for position in range(30):
        for token in set(tokens[: position + 1 - begin].tolist()):
            engine[position, token] *= 1.1 if engine[position, token] < 0 else 1 / 1.1
    made = {sentence: logits for _, sentence, logits in mistaken_logits(RIGHT, engine, tokens)}
    expected = f"divides positive and multiplies negative logits of {which} by 1.1: a repetition penalty"
    assert np.abs(made.pop(expected) - engine).max() < 1e-5
    other = [logits for sentence, logits in made.items() if which + " by" not in sentence]
    assert min(np.abs(logits - engine).max() for logits in other) > 0.01


def test_constant_logits_are_no_reason_to_divide_by_zero() -> None:
    zeros = np.zeros_like(RIGHT)
    with np.errstate(all="raise"):
        made = list(mistaken_logits(RIGHT, zeros))
    assert all(np.isfinite(logits).all() for _, _, logits in made)


@pytest.mark.parametrize(("dtype", "found"), [(torch.bfloat16, "bf16"), (torch.float16, "fp16")])
def test_logits_in_half_precision_are_named(dtype: torch.dtype, found: str) -> None:
    right = np.random.default_rng(1).normal(0, 4, (5, 40))
    engine = torch.from_numpy(right).to(dtype).double().numpy()
    made = {sentence: logits for _, sentence, logits in mistaken_logits(right, engine)}
    assert (made[f"rounds the logits to {found}"] == engine).all()
    far = engine.copy()
    far[2, 3] = 64
    made = {sentence: logits for _, sentence, logits in mistaken_logits(right, far)}
    assert (made[f"rounds the logits to {found}"] != far).sum() == 1
    assert not any("rounds" in sentence for _, sentence, _ in mistaken_logits(right, right))
