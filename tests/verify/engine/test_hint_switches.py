"""A hint names each mistake with a switch from an engine's logits, and never another mistake."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch
from helpers.models import arrays, config, hyperparameters

import exporter
from exporter.switches import LayerKind
from verify.diagnosis.mistakes import Mistake
from verify.engine.hint_reference import MistakenReference, logits_of
from verify.engine.hint_search import Hint, Seen, find_hint
from verify.engine.hint_switches import of_switches
from verify.oracle import llama
from verify.oracle.logit_sigma import logit_sigma

TOKENS = np.random.default_rng(5).integers(0, 29, 24)
# Between them, every switch.
MODELS = {
    "gemma": config(
        norm_place="both",
        norm_plus_one=True,
        qk_norm="head",
        embedding_scale=48**0.5,
        score_scale=0.25,
        logit_cap=4.0,
        score_cap=2.0,
        local_theta=100.0,
        window=5,
        layers=(LayerKind(True, "second"), LayerKind(False, "first")),
    ),
    "olmo": config(
        norm_place="after", qk_norm="whole", window=6, layers=(LayerKind(True, "first"), LayerKind(False, "first"))
    ),
    "granite": config(embedding_scale=12.0, score_scale=0.2, residual_scale=0.3, logit_divisor=8.0),
    "phi": config(rotary_dim=4, query_scale_beta=0.7, query_scale_positions=3),
    "phi 4": config(
        max_seq_len=33,
        rope_scaling=exporter.RopeScaling(
            "longrope",
            original_max_positions=33,
            attention_factor=1.3,
            short_factors=(1.0, 1.5, 2.5, 4.0),
            long_factors=(2.0, 6.0, 9.0, 20.0),
        ),
    ),
    "smollm": config(layers=(LayerKind(False, "first"), LayerKind(False, "none"))),
}
# What makes the same logits, and is tried before or is simpler.
SAME = {
    "logit-divisor": {"logits-scaled"},
    "embedding-scale": {"embedding-scaled"},
    # where no score is beyond the cap, a clip is none
    "cap-formula": {"cap-missing"},
}


def hint_of(model: exporter.ModelConfig, logits: torch.Tensor) -> Hint | None:
    hyper = hyperparameters(model)
    weights = {name: torch.from_numpy(array) for name, array in arrays(model).items()}
    tokens = torch.from_numpy(TOKENS).unsqueeze(0)
    right = llama.logits(hyper, weights.__getitem__, tokens)[0].numpy()
    sigma = logit_sigma(hyper, weights.__getitem__, tokens, seed=0)[0].double().numpy()
    seen = Seen(TOKENS, logits.float().numpy(), right, sigma, 8.0)
    return find_hint(seen, hyper, weights.__getitem__, 0)


@pytest.mark.slow
@pytest.mark.parametrize("family", MODELS)
def test_each_mistake_is_told_or_nothing_is(family: str) -> None:
    model = MODELS[family]
    hyper = hyperparameters(model)
    weights = {name: torch.from_numpy(array) for name, array in arrays(model).items()}
    named = total = 0
    for reference in of_switches(hyper, weights.__getitem__):
        found = hint_of(model, logits_of(reference, torch.from_numpy(TOKENS)))
        total += 1
        if found is None:
            continue
        allowed = {reference.mistake.name} | SAME.get(reference.mistake.name, set())
        assert found.mistake.name in allowed, (reference.sentence, found.sentence)
        named += 1
    assert total
    assert named >= 0.9 * total


def test_another_width_in_the_exponents_is_no_other_theta() -> None:
    """theta ** (2i / 8) with a theta of 100 is theta ** (2i / 4) with one of 10."""
    model = config(rotary_dim=4, head_dim=8, rope_theta=100.0)
    hyper = hyperparameters(model)
    weights = {name: torch.from_numpy(array) for name, array in arrays(model).items()}
    ten = MistakenReference(Mistake(""), "", dataclasses.replace(hyper, rope_theta=10.0), weights.__getitem__)
    found = hint_of(model, logits_of(ten, torch.from_numpy(TOKENS)))
    assert found is not None
    assert found.mistake.name == "rope-frequencies"
    assert "with 2i / head_dim in the exponent instead of 2i / rotary_dim" in found.sentence


def test_every_switch_has_a_mistake() -> None:
    names = set()
    for model in MODELS.values():
        weights = {name: torch.from_numpy(array) for name, array in arrays(model).items()}
        names |= {one.mistake.name for one in of_switches(hyperparameters(model), weights.__getitem__)}
    assert names == {
        *("qk-norm-missing", "qk-norm-width", "norm-one-missing", "norm-place", "rope-whole-head", "rope-added"),
        *("rope-of-layers", "query-scale-missing", "window-off", "window-ignored", "window-everywhere"),
        *("embedding-scale", "score-scale-ignored", "residual-scale-missing", "logit-divisor", "cap-missing"),
        *("attention-factor-missing", "rope-factors", "window-layers", "window-blocks", "cap-formula"),
    }


def test_a_llama_has_none() -> None:
    model = config()
    weights = {name: torch.from_numpy(array) for name, array in arrays(model).items()}
    assert not list(of_switches(hyperparameters(model), weights.__getitem__))
    assert not list(of_switches(dataclasses.replace(hyperparameters(model), qkv_bias=True), weights.__getitem__))
