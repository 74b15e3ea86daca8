"""Which points an engine must record: those of this model and no others, in this model's widths."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
import torch
from helpers.models import config, hyperparameters

from verify.operations.attention import Recorded
from verify.operations.expected_points import of_classifier, of_layer
from verify.sources import LayerKind

WINDOWS, LENGTH, DIM, HEADS, KV, SIZE = 2, 5, 20, 4, 2, 6
MODEL = hyperparameters(
    config(dim=DIM, hidden_dim=9, n_heads=HEADS, n_kv_heads=KV, head_dim=SIZE, max_seq_len=LENGTH)
)
X = torch.zeros(WINDOWS, LENGTH, DIM)
ALWAYS = {
    **{"q": 24, "k": 12, "v": 12, "attended": 24, "wo": 20, "attention_residual": 20, "down": 20, "ffn_residual": 20},
}
DENSE = {"gate": 9, "up": 9, "gated": 9}
NORMS_BEFORE = {"attention_norm": 20, "ffn_norm": 20}
NORMS_AFTER = {"attention_post_norm": 20, "ffn_post_norm": 20}
ROPE = {"cosine": 3, "sine": 3, "q_rotated": 24, "k_rotated": 12}


def recorded(*widths: dict[str, int]) -> Recorded:
    """What is always recorded, and more of such widths."""
    at = {name: torch.ones(WINDOWS, LENGTH, width) for part in (ALWAYS, *widths) for name, width in part.items()}
    return at | {name: torch.ones(WINDOWS, LENGTH, HEADS, LENGTH) for name in ("scores", "shares")}


@pytest.mark.parametrize(
    ("changes", "kind", "points"),
    [
        ({}, {}, {**DENSE, **NORMS_BEFORE, **ROPE}),
        ({"norm_place": "after"}, {}, {**DENSE, **NORMS_AFTER, **ROPE}),
        ({"norm_place": "both"}, {}, {**DENSE, **NORMS_BEFORE, **NORMS_AFTER, **ROPE}),
        ({"qk_norm": "head"}, {}, {**DENSE, **NORMS_BEFORE, **ROPE, "q_normed": 24, "k_normed": 12}),
        ({}, {"rope": "none"}, {**DENSE, **NORMS_BEFORE}),
        ({"rotary_dim": 4}, {"rope": "second"}, {**DENSE, **NORMS_BEFORE, **ROPE, "cosine": 2, "sine": 2}),
        ({"query_scale_beta": 0.1}, {}, {**DENSE, **NORMS_BEFORE, **ROPE, "q_scaled": 24}),
        (
            {"n_experts": 7, "n_active_experts": 3, "expert_hidden_dim": 11},
            {"experts": True},
            {
                **{"router": 7, "routed": 7, "expert_gate": 33, "expert_up": 33, "expert_gated": 33},
                **{"expert_down": 60, **NORMS_BEFORE, **ROPE},
            },
        ),
    ],
)
def test_a_layer_s_points_are_those_of_its_model(
    changes: dict[str, Any], kind: dict[str, Any], points: dict[str, int]
) -> None:
    hyper, layer = dataclasses.replace(MODEL, **changes), LayerKind(**kind)
    at = recorded(points)
    found = of_layer(hyper, layer, at, X)
    assert found.keys() == at.keys()
    assert all(found[name] is at[name] for name in at)
    # another model's points are no findings of their own, and a point that is missing or of another width lies
    # within no bound
    given = ALWAYS | DENSE
    for name in points.keys() - given.keys():
        for other in ({}, {name: torch.ones(WINDOWS, LENGTH, points[name] + 1)}):
            wrong = {key: part for key, part in at.items() if key != name} | {"another": X} | other
            found = of_layer(hyper, layer, wrong, X)
            assert found.keys() == at.keys()
            assert found[name].shape == (WINDOWS, LENGTH, points[name])
            assert found[name].isnan().all()


@pytest.mark.parametrize("cap", [0.0, 3.0])
def test_scores_before_a_cap_are_points_of_a_model_that_has_one(cap: float) -> None:
    hyper = dataclasses.replace(MODEL, score_cap=cap)
    at = recorded(DENSE, NORMS_BEFORE, ROPE)
    found = of_layer(hyper, LayerKind(), at, X)
    assert ("scores_raw" in found) == bool(cap)
    if cap:
        assert found["scores_raw"].shape == at["scores"].shape


@pytest.mark.parametrize(
    ("divisor", "cap", "is_point"), [(1.0, 0.0, False), (2.0, 0.0, True), (0.5, 0.0, True), (1.0, 30.0, True)]
)
def test_logits_before_a_divisor_or_a_cap_are_points_of_a_model_that_has_one(
    divisor: float, cap: float, *, is_point: bool
) -> None:
    hyper = dataclasses.replace(MODEL, logit_divisor=divisor, logit_cap=cap)
    at = {"final_norm": X, "logits": torch.ones(WINDOWS, LENGTH, 29), "logits int8": X, "logits scale": X, "other": X}
    found = of_classifier(hyper, at)
    assert found.keys() == {*at.keys() - {"other"}, *(["classified"] if is_point else [])}
    assert all(found[name] is at[name] for name in at.keys() - {"other"})
    if is_point:
        assert found["classified"].shape == at["logits"].shape
        assert found["classified"].isnan().all()
