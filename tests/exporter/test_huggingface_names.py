"""Hugging Face's names, held against those of transformers' own models."""

from __future__ import annotations

import transformers
from helpers.models import config

from exporter.config import tensor_shapes
from exporter.huggingface_names import hugging_face_name


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
