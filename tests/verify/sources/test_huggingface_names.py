"""Hugging Face's names for a Llama's tensors, there and back, and what is noted of unusual ones."""

from __future__ import annotations

from pathlib import Path

import pytest

from verify.errors import CannotJudgeError
from verify.sources.huggingface_names import Names, canonical_names, transformers_name

WHERE = Path("model")
TABLE = {
    "model.embed_tokens.weight": "tok_embeddings.weight",
    "model.norm.weight": "norm.weight",
    "lm_head.weight": "output.weight",
    "model.layers.0.input_layernorm.weight": "layers.0.attention_norm.weight",
    "model.layers.0.self_attn.q_proj.weight": "layers.0.attention.wq.weight",
    "model.layers.0.self_attn.k_proj.weight": "layers.0.attention.wk.weight",
    "model.layers.0.self_attn.v_proj.weight": "layers.0.attention.wv.weight",
    "model.layers.0.self_attn.o_proj.weight": "layers.0.attention.wo.weight",
    "model.layers.0.post_attention_layernorm.weight": "layers.0.ffn_norm.weight",
    "model.layers.0.mlp.gate_proj.weight": "layers.0.feed_forward.w1.weight",
    "model.layers.0.mlp.up_proj.weight": "layers.0.feed_forward.w3.weight",
    "model.layers.0.mlp.down_proj.weight": "layers.0.feed_forward.w2.weight",
    "model.layers.12.mlp.down_proj.bias": "layers.12.feed_forward.w2.bias",
    "model.layers.999999999.self_attn.q_proj.bias": "layers.999999999.attention.wq.bias",
}


def names(*stored: str) -> Names:
    return canonical_names(WHERE, list(stored))


def refused(*stored: str) -> str:
    with pytest.raises(CannotJudgeError) as caught:
        names(*stored)
    return str(caught.value)


def test_every_tensor_has_a_name_in_each_world() -> None:
    assert names(*TABLE) == Names({own: stored for stored, own in TABLE.items()}, (), (), True)
    for stored, own in TABLE.items():
        assert transformers_name(own) == stored


def test_frequencies_are_set_apart() -> None:
    of_layer = "model.layers.0.self_attn.rotary_emb.inv_freq"
    found = names("rotary_emb.inv_freq", "model.norm.weight", of_layer)
    assert found == Names({"norm.weight": "model.norm.weight"}, ("rotary_emb.inv_freq", of_layer), (), True)
    assert "my_rotary_emb.inv_freq" in refused("model.norm.weight", "my_rotary_emb.inv_freq")


@pytest.mark.parametrize(
    ("stored", "own", "notes"),
    [
        (
            ["module.model.norm.weight"],
            ["norm.weight"],
            ['weights are named with the prefix "module."; it was removed'],
        ),
        (["norm.weight"], ["norm.weight"], ['weights are named without the prefix "model."; it was added']),
        (
            ["net.lm_head.weight", "net.model.norm.weight"],
            ["output.weight", "norm.weight"],
            ['weights are named with the prefix "net."; it was removed'],
        ),
        (
            ["model.layers.0._fsdp_wrapped_module.mlp.up_proj.weight", "lm_head.weight"],
            ["layers.0.feed_forward.w3.weight", "output.weight"],
            ["weights are named with the wrappers of training code; they were removed"],
        ),
        (
            ["module.model.norm.weight", "embed_tokens.weight"],
            ["norm.weight", "tok_embeddings.weight"],
            [
                'weights are named with the prefix "module."; it was removed',
                'weights are named without the prefix "model."; it was added',
            ],
        ),
    ],
)
def test_unusual_names_are_noted(stored: list[str], own: list[str], notes: list[str]) -> None:
    assert names(*stored) == Names(dict(zip(own, stored, strict=True)), (), tuple(notes), False)


def test_a_model_of_usual_names_is_standard_only_as_a_whole() -> None:
    assert names("lm_head.weight", "model.norm.weight").standard
    assert not names("lm_head.weight", "norm.weight").standard


@pytest.mark.parametrize(
    "stored",
    [
        "model.layers.01.mlp.up_proj.weight",
        "model.layers.1000000000.mlp.up_proj.weight",
        "model.layers.0.mlp.up_proj.scale",
        "model.layers.0.mlp.side_proj.weight",
        "model.norm.bias",
        "lm_head.bias",
    ],
)
def test_a_tensor_that_no_llama_has_is_refused(stored: str) -> None:
    assert refused("model.norm.weight", stored) == f"model: tensors: expected those of a Llama alone, found {stored}"


@pytest.mark.parametrize("prefix", ["student.", "student.model.", "a.b."])
def test_a_prefix_that_all_names_share_is_told(prefix: str) -> None:
    assert refused(f"{prefix}norm.weight", f"{prefix}layers.0.mlp.up_proj.weight") == (
        "model: tensors: expected a Llama's names, found all of them under the prefix "
        f"'{prefix.removesuffix('model.')}': save the state dict of the model itself, without what wraps it"
    )


def test_a_fused_matrix_has_the_names_of_all_its_parts() -> None:
    stored = [
        "model.layers.2.self_attn.qkv_proj.weight",
        "model.layers.2.mlp.gate_up_proj.weight",
        "model.layers.2.mlp.down_proj.weight",
    ]
    assert canonical_names(Path("model"), stored, "phi3").own == {
        **{f"layers.2.attention.w{part}.weight": stored[0] for part in "qkv"},
        **{f"layers.2.feed_forward.w{part}.weight": stored[1] for part in "13"},
        "layers.2.feed_forward.w2.weight": stored[2],
    }
