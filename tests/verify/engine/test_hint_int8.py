"""Mistakes with int8 activations are told from logits alone, and rounding is what a formula of its own says."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from helpers.models import arrays, config, hyperparameters

from verify.engine import hint_general
from verify.engine.hint_int8 import Int8Rounding, mistaken_roundings, of_file
from verify.engine.hint_reference import MistakenReference, logits_of
from verify.engine.hint_search import Hint, Seen, find_hint
from verify.engine.hints import mistaken_references
from verify.oracle import llama

GROUP = 16
MODEL = config(dim=64, hidden_dim=96, n_layers=2, n_heads=4, n_kv_heads=2, vocab_size=37, max_seq_len=40)
HYPER = hyperparameters(MODEL)
WEIGHTS = {name: torch.from_numpy(array) for name, array in arrays(MODEL).items()}
TOKENS = np.random.default_rng(5).integers(0, MODEL.vocab_size, 30)
RIGHT = Int8Rounding(of_file(HYPER, lambda _matrix: GROUP))
LOGITS = llama.logits(HYPER, WEIGHTS.__getitem__, torch.from_numpy(TOKENS)[None], inputs=RIGHT).numpy()[0]


@pytest.fixture(autouse=True)
def little_work(monkeypatch: pytest.MonkeyPatch) -> None:
    """End the search for combined mistakes early; engines of the toys are searched with all of them."""
    monkeypatch.setattr(hint_general, "_MOST_WORK", 1e8)


def hint(engine: np.ndarray) -> Hint | None:
    seen = Seen(TOKENS, engine.astype(np.float32), LOGITS, np.full_like(LOGITS, 1e-6), None, 0.01)
    return find_hint(seen, HYPER, WEIGHTS.__getitem__, GROUP)


def with_noise(logits: np.ndarray) -> np.ndarray:
    return logits + 1e-4 * np.random.default_rng(1).standard_normal(logits.shape)


def made(known: MistakenReference) -> np.ndarray:
    return logits_of(known, torch.from_numpy(TOKENS), torch.float32, RIGHT).numpy()


def test_activations_are_rounded_by_groups_halves_away_from_zero() -> None:
    x = np.random.default_rng(0).standard_normal((3, 5, 64)).astype(np.float32)
    grouped = x.reshape(3, 5, -1, GROUP)
    scale = np.abs(grouped).max(-1, keepdims=True) / np.float32(127)
    quotient = grouped / scale
    q = np.sign(quotient) * np.floor(np.abs(quotient) + 0.5)
    found = RIGHT(torch.from_numpy(x), "layers.0.attention.wq.weight").numpy()
    np.testing.assert_array_equal(found, (q * scale).reshape(x.shape))
    assert RIGHT(torch.zeros(1, 1, 64), "w").abs().sum() == 0


def test_a_tied_classifier_has_the_group_size_of_the_embedding() -> None:
    sizes = {"tok_embeddings.weight": 8, "output.weight": 4}
    tied = hyperparameters(config(tied=True))
    assert of_file(tied, sizes.__getitem__)("output.weight") == 8
    assert of_file(HYPER, sizes.__getitem__)("output.weight") == 4


def test_each_mistake_is_told() -> None:
    for known in mistaken_roundings(HYPER, WEIGHTS.__getitem__, RIGHT):
        found = hint(with_noise(made(known)))
        assert found is not None, known.sentence
        assert found.sentence == known.sentence


def test_another_mistake_is_told_by_the_logits_that_int8_activations_give_it() -> None:
    few = mistaken_references(HYPER, WEIGHTS.__getitem__, GROUP, torch.from_numpy(TOKENS))
    known = next(one for one in few if one.mistake.name == "norm-eps")
    engine = made(known)
    float_engine = logits_of(known, torch.from_numpy(TOKENS)).numpy()
    assert np.square(engine - LOGITS).mean() < np.square(float_engine - engine).mean()
    found = hint(with_noise(engine))
    assert found is not None
    assert found.mistake.name == "norm-eps"


def test_a_healthy_engine_and_logits_of_nearly_zero_get_no_name() -> None:
    assert hint(with_noise(LOGITS)) is None
    assert hint(0.01 * np.random.default_rng(2).standard_normal(LOGITS.shape)) is None
    assert hint(LOGITS + 0.05 * np.random.default_rng(3).standard_normal(LOGITS.shape)) is None
