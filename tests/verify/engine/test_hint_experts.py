"""A hint names each mistake with experts from an engine's logits, and never another mistake."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from helpers.models import arrays, config, hyperparameters

from exporter.switches import LayerKind
from verify.diagnosis.engine_mistakes import EXPERTS_CHOSEN, EXPERTS_NORMALIZED
from verify.engine.hint_experts import of_experts
from verify.engine.hint_in_place import of_in_place
from verify.engine.hint_layers import of_layers
from verify.engine.hint_reference import logits_of
from verify.engine.hint_scales import of_scales
from verify.engine.hint_search import Seen, find_hint
from verify.engine.hint_switches import of_switches
from verify.oracle import llama
from verify.oracle.logit_sigma import logit_sigma

TOKENS = np.random.default_rng(5).integers(0, 29, 24)
MODEL = config(
    n_experts=4,
    n_active_experts=2,
    expert_hidden_dim=20,
    hidden_dim=20,
    layers=(LayerKind(experts=True), LayerKind(experts=True)),
)
HYPER = hyperparameters(MODEL)
WEIGHTS = {name: torch.from_numpy(array) for name, array in arrays(MODEL).items()}


def hint_of(logits: torch.Tensor) -> str:
    tokens = torch.from_numpy(TOKENS).unsqueeze(0)
    right = llama.logits(HYPER, WEIGHTS.__getitem__, tokens)[0].numpy()
    sigma = logit_sigma(HYPER, WEIGHTS.__getitem__, tokens, seed=0)[0].double().numpy()
    found = find_hint(Seen(TOKENS, logits.float().numpy(), right, sigma, 8.0), HYPER, WEIGHTS.__getitem__, 0)
    return found.mistake.name if found else ""


@pytest.mark.slow
def test_each_mistake_is_told() -> None:
    references = [*of_switches(HYPER, WEIGHTS.__getitem__), *of_experts(HYPER, WEIGHTS.__getitem__)]
    names = {reference.mistake.name for reference in references}
    own = {"experts-order", "experts-routed", "experts-shares", "experts-inputs"}
    assert names == {EXPERTS_NORMALIZED.name, EXPERTS_CHOSEN.name, "other-layer"} | own
    for reference in references:
        assert hint_of(logits_of(reference, torch.from_numpy(TOKENS))) == reference.mistake.name, reference.sentence


def test_a_model_without_experts_has_no_such_mistake() -> None:
    assert list(of_experts(hyperparameters(config()), WEIGHTS.__getitem__)) == []


def test_layers_with_experts_and_without_are_searched_together() -> None:
    """No candidate asks for a tensor that a layer does not have, nor do its scales."""
    mixed = replace(MODEL, layers=(LayerKind(), LayerKind(experts=True)))
    hyper, weights = hyperparameters(mixed), {name: torch.from_numpy(array) for name, array in arrays(mixed).items()}
    tokens, load = torch.from_numpy(TOKENS[:3]), weights.__getitem__
    few = (*of_experts(hyper, load), *of_layers(hyper, load), *of_in_place(hyper, load), *of_scales(hyper, load, 4))
    for reference in few:
        assert logits_of(reference, tokens).shape == (3, mixed.vocab_size), reference.sentence
