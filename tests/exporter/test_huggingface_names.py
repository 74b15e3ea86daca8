"""Hugging Face's names, held against those of transformers' own models."""

from __future__ import annotations

import transformers
from helpers.models import config

from exporter.config import tensor_shapes
from exporter.huggingface_names import Place, hugging_face_name, places


def test_the_names_are_those_of_transformers_llama() -> None:
    model = config(qkv_bias=True, wo_bias=True, mlp_bias=True)
    own = transformers.LlamaForCausalLM(
        transformers.LlamaConfig(
            hidden_size=model.dim,
            intermediate_size=model.hidden_dim,
            num_hidden_layers=model.n_layers,
            num_attention_heads=model.n_heads,
            num_key_value_heads=model.n_kv_heads,
            vocab_size=model.vocab_size,
            attention_bias=True,
            mlp_bias=True,
            tie_word_embeddings=False,
        )
    )
    expected = {name: tuple(tensor.shape) for name, tensor in own.state_dict().items()}
    assert {hugging_face_name(name): shape for name, shape in tensor_shapes(model).items()} == expected


def test_a_name_keeps_its_layer_and_its_kind() -> None:
    assert hugging_face_name("layers.12.attention.wq.bias") == "model.layers.12.self_attn.q_proj.bias"
    assert hugging_face_name("output.weight") == "lm_head.weight"


def test_norms_have_the_names_of_their_places() -> None:
    names = [f"layers.1.{norm}.weight" for norm in ("attention_post_norm", "ffn_norm", "ffn_post_norm")]
    for place in ("after", "both"):
        after = [hugging_face_name(name, place) for name in names if place == "both" or "post" in name]
        expected = ["post_attention_layernorm", "pre_feedforward_layernorm", "post_feedforward_layernorm"]
        kept = expected if place == "both" else [expected[0], expected[2]]
        assert after == [f"model.layers.1.{name}.weight" for name in kept]


def test_a_fused_matrix_holds_its_parts_one_after_the_other() -> None:
    there = places(config(), fused=True)
    assert there["layers.1.attention.wv.weight"] == Place("model.layers.1.self_attn.qkv_proj.weight", 48 + 24)
    assert there["layers.0.feed_forward.w3.weight"] == Place("model.layers.0.mlp.gate_up_proj.weight", 40)
    assert there["layers.0.feed_forward.w2.weight"] == Place("model.layers.0.mlp.down_proj.weight")
    assert list(there) == list(tensor_shapes(config()))
    assert places(config(), fused=False)["layers.0.attention.wk.weight"] == Place(
        "model.layers.0.self_attn.k_proj.weight"
    )
