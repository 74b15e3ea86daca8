"""Rows of fused matrices, of norms and of heads that rotate in part."""

from __future__ import annotations

import dataclasses

import pytest
from helpers.models import config, hyperparameters

from verify.checks.directory.names import fused_rows, stored_name, stored_rows

# queries of 32 rows, keys of 16, gates of 10
HYPER = hyperparameters(config(n_heads=4, n_kv_heads=2, head_dim=8, hidden_dim=10))


@pytest.mark.parametrize("kind", ["weight", "bias"])
def test_parts_of_a_fused_matrix_follow_each_other(kind: str) -> None:
    attention = {"wq": (0, 32), "wk": (32, 16), "wv": (48, 16), "wo": None}
    for part, rows in attention.items():
        assert fused_rows(f"layers.3.attention.{part}.{kind}", HYPER) == rows
    for part, expected in {"w1": (0, 10), "w3": (10, 10), "w2": None}.items():
        assert fused_rows(f"layers.3.feed_forward.{part}.{kind}", HYPER) == expected
    for name in ("tok_embeddings.weight", "norm.weight", "layers.3.attention_norm.weight"):
        assert fused_rows(name, HYPER) is None


def test_fused_matrices_have_one_name_for_their_parts() -> None:
    for part in ("wq", "wk", "wv"):
        assert stored_name(f"layers.1.attention.{part}.weight", fused=True) == (
            "model.layers.1.self_attn.qkv_proj.weight"
        )
    for part in ("w1", "w3"):
        assert stored_name(f"layers.1.feed_forward.{part}.weight", fused=True) == (
            "model.layers.1.mlp.gate_up_proj.weight"
        )
    assert stored_name("layers.1.attention.wo.weight", fused=True) == "model.layers.1.self_attn.o_proj.weight"


def test_an_expert_has_mixtral_s_names_only_on_request() -> None:
    assert stored_name("layers.0.feed_forward.router.weight") == "model.layers.0.mlp.gate.weight"


@pytest.mark.parametrize(
    ("place", "names"),
    [
        ("before", {"attention_norm": "input", "ffn_norm": "post_attention"}),
        ("after", {"attention_post_norm": "post_attention", "ffn_post_norm": "post_feedforward"}),
        (
            "both",
            {
                **{"attention_norm": "input", "attention_post_norm": "post_attention"},
                **{"ffn_norm": "pre_feedforward", "ffn_post_norm": "post_feedforward"},
            },
        ),
    ],
)
def test_norms_have_the_names_of_their_places(place: str, names: dict[str, str]) -> None:
    for own, theirs in names.items():
        assert stored_name(f"layers.7.{own}.weight", place) == f"model.layers.7.{theirs}_layernorm.weight"


@pytest.mark.parametrize(("kind", "queries", "keys"), [("head", 1, 1), ("whole", 4, 2)])
def test_norms_of_queries_and_keys_turn_as_they_do(kind: str, queries: int, keys: int) -> None:
    hyper = dataclasses.replace(HYPER, qk_norm=kind)
    one = [0, 4, 1, 5, 2, 6, 3, 7]
    for name, heads in (("q_norm", queries), ("k_norm", keys)):
        rows = stored_rows(f"layers.0.attention.{name}.weight", hyper)
        assert rows is not None
        assert rows.tolist() == [head * 8 + row for head in range(heads) for row in one]


@pytest.mark.parametrize(("rotary", "one"), [(4, [0, 2, 1, 3, 4, 5, 6, 7]), (6, [0, 3, 1, 4, 2, 5, 6, 7])])
def test_rows_that_do_not_rotate_stay(rotary: int, one: list[int]) -> None:
    rows = stored_rows("layers.0.attention.wk.weight", dataclasses.replace(HYPER, rotary_dim=rotary))
    assert rows is not None
    assert rows.tolist() == [*one, *(8 + row for row in one)]
