"""Hugging Face's names and order of rows, against a list and against rotations that are spelled out."""

from __future__ import annotations

import numpy as np
import pytest
from helpers.models import config, hyperparameters

from verify.checks.directory.names import stored_name, stored_rows

NAMES = {
    "tok_embeddings.weight": "model.embed_tokens.weight",
    "norm.weight": "model.norm.weight",
    "output.weight": "lm_head.weight",
    "layers.0.attention_norm.weight": "model.layers.0.input_layernorm.weight",
    "layers.3.attention.wq.weight": "model.layers.3.self_attn.q_proj.weight",
    "layers.3.attention.wk.bias": "model.layers.3.self_attn.k_proj.bias",
    "layers.3.attention.wv.weight": "model.layers.3.self_attn.v_proj.weight",
    "layers.12.attention.wo.weight": "model.layers.12.self_attn.o_proj.weight",
    "layers.12.ffn_norm.weight": "model.layers.12.post_attention_layernorm.weight",
    "layers.1.feed_forward.w1.weight": "model.layers.1.mlp.gate_proj.weight",
    "layers.1.feed_forward.w2.bias": "model.layers.1.mlp.down_proj.bias",
    "layers.1.feed_forward.w3.weight": "model.layers.1.mlp.up_proj.weight",
}


@pytest.mark.parametrize("name", NAMES)
def test_each_name_is_hugging_face_s(name: str) -> None:
    assert stored_name(name) == NAMES[name]


@pytest.mark.parametrize(
    ("mixtral", "place", "names"),
    [
        (False, "mlp", ("gate_proj", "down_proj", "up_proj")),
        (True, "block_sparse_moe", ("w1", "w2", "w3")),
    ],
)
def test_experts_have_the_names_of_their_family(mixtral: bool, place: str, names: tuple[str, ...]) -> None:
    for own, theirs in zip(("w1", "w2", "w3"), names, strict=True):
        found = stored_name(f"layers.2.feed_forward.experts.11.{own}.weight", mixtral=mixtral)
        assert found == f"model.layers.2.{place}.experts.11.{theirs}.weight"
    router = stored_name("layers.2.feed_forward.router.weight", mixtral=mixtral)
    assert router == f"model.layers.2.{place}.gate.weight"
    assert stored_name("layers.2.feed_forward.w1.weight", mixtral=mixtral) == "model.layers.2.mlp.gate_proj.weight"


def test_what_is_no_name_has_none() -> None:
    with pytest.raises(ValueError, match=r"^weight$"):
        stored_name("weight")
    with pytest.raises(KeyError):
        stored_name("layers.0.attention.w9.weight")


@pytest.mark.parametrize("head_dim", [2, 4, 6, 10])
@pytest.mark.parametrize(("name", "heads"), [("wq", 6), ("wk", 3)])
@pytest.mark.parametrize("kind", ["weight", "bias"])
def test_the_two_rows_of_a_rotation_are_next_to_each_other_here_and_half_a_head_apart_there(
    name: str, heads: int, kind: str, head_dim: int
) -> None:
    hyper = hyperparameters(config(head_dim=head_dim))
    rows = stored_rows(f"layers.1.attention.{name}.{kind}", hyper)
    expected = [
        head * head_dim + pair + half * (head_dim // 2)
        for head in range(heads)
        for pair in range(head_dim // 2)
        for half in (0, 1)
    ]
    assert rows is not None
    assert rows.tolist() == expected
    assert sorted(expected) == list(range(heads * head_dim))


@pytest.mark.parametrize("name", sorted(name for name in NAMES if ".wq." not in name and ".wk." not in name))
def test_other_tensors_keep_their_rows(name: str) -> None:
    assert stored_rows(name, hyperparameters(config())) is None


def test_a_row_is_read_where_hugging_face_has_it() -> None:
    """One head of 4: rotated rows are (0, 2) and (1, 3)."""
    hyper = hyperparameters(config(head_dim=4, n_heads=1, n_kv_heads=1))
    rows = stored_rows("layers.0.attention.wq.weight", hyper)
    assert np.array(["re 0", "re 1", "im 0", "im 1"])[rows].tolist() == ["re 0", "im 0", "re 1", "im 1"]
