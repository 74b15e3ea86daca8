"""config.json means what transformers takes it for: families, defaults, and every refusal by name."""

from __future__ import annotations

import json
import math
import tracemalloc
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from helpers import hf_directories
from helpers.hf_configs import SIZES, noted, read, read_text, refused
from transformers import AutoConfig

import exporter
from exporter.sources.huggingface_config import read_config


@pytest.mark.parametrize("kind", ["llama", "mistral", "qwen2"])
@pytest.mark.parametrize("null", [False, True])
def test_defaults_are_those_of_transformers(kind: str, null: bool) -> None:
    nulls: dict[str, Any] = {"rope_scaling": None, "rope_parameters": None} if null else {}
    if null and kind != "mistral":  # whose class takes no null here
        nulls["num_key_value_heads"] = None
    if null and kind != "qwen2":  # whose model takes no null here
        nulls["head_dim"] = None
    theirs = hf_directories.CLASSES[kind][0](**SIZES, **nulls)
    ours = read(kind, **nulls)
    assert ours == exporter.ModelConfig(
        dim=64,
        hidden_dim=40,
        n_layers=2,
        n_heads=32,
        vocab_size=29,
        head_dim=2,
        n_kv_heads=theirs.num_key_value_heads,
        max_seq_len=theirs.max_position_embeddings,
        tied=theirs.tie_word_embeddings,
        norm_eps=theirs.rms_norm_eps,
        rope_theta=theirs.rope_parameters["rope_theta"],
        qkv_bias=kind == "qwen2",
        activation=theirs.hidden_act,
    )


def test_every_field_is_read() -> None:
    ours = read(
        head_dim=6,
        num_key_value_heads=8,
        max_position_embeddings=77,
        rms_norm_eps=1e-5,
        rope_theta=5e5,
        attention_bias=True,
        mlp_bias=True,
        tie_word_embeddings=True,
        hidden_act="gelu_new",
    )
    assert replace(ours, dim=1, hidden_dim=1, n_layers=1, vocab_size=1) == exporter.ModelConfig(
        1, 1, 1, 32, 8, 1, 77, True, 1e-5, 5e5, 6, exporter.RopeScaling(), True, True, True, "gelu_tanh"
    )
    assert read("qwen2").qkv_bias
    assert not read("qwen2").wo_bias


@pytest.mark.parametrize("act", ["silu", "swish", "gelu", "gelu_new", "gelu_pytorch_tanh"])
def test_activations_are_those_of_transformers(act: str) -> None:
    import torch
    from transformers.activations import ACT2FN

    x = torch.linspace(-6, 6, 101, dtype=torch.float64)
    ours = {
        "silu": x * torch.sigmoid(x),
        "gelu": x * (1 + torch.erf(x / math.sqrt(2))) / 2,
        "gelu_tanh": x * (1 + torch.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3))) / 2,
    }[read(hidden_act=act).activation]
    assert torch.allclose(ACT2FN[act](x), ours, rtol=0, atol=1e-12)


def test_every_architecture_of_a_family_is_the_family() -> None:
    plain = read()
    for architectures, note in (
        (None, []),
        (["LlamaForCausalLM"], []),
        (["LLaMAForCausalLM"], "['LLaMAForCausalLM']"),
        (["LlamaForSequenceClassification"], "['LlamaForSequenceClassification']"),
        (["LlamaForCausalLM", "LlamaModel"], "['LlamaForCausalLM', 'LlamaModel']"),
        ("LlamaForCausalLM", "'LlamaForCausalLM'"),
        (["MistralForCausalLM"], "['MistralForCausalLM']"),
    ):
        told = [f"architectures is {note}: transformers goes by model_type 'llama'"] if note else []
        assert noted(architectures=architectures) == (plain, told)


@pytest.mark.parametrize("name", ["LlamaForCausalLM", "llamaforcausallm", "LLaMAForCausalLM"])
@pytest.mark.parametrize("model_type", [None, ...])
def test_an_architecture_decides_where_no_model_type_does(name: str, model_type: object) -> None:
    text = {"model_type": model_type, "architectures": [name], **SIZES}
    config = read_text(json.dumps({key: value for key, value in text.items() if value is not ...}))
    assert config == read()
    assert noted(model_type=None, architectures=[name])[1] == ["model_type is not given: architectures says llama"]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"model_type": "gpt2"},
            "model_type: expected one of llama, mistral, qwen2, .*, found 'gpt2', which is not supported$",
        ),
        ({"model_type": "LLAMA"}, "model_type: expected one of llama, .*, found 'LLAMA'"),
        ({"model_type": 7}, "model_type: expected one of llama, .*, found 7"),
        ({"model_type": None}, "model_type: expected one of llama, .*, found none, and architectures: None"),
        ({"model_type": None, "architectures": ["CohereForCausalLM"]}, r"architectures: \['CohereForCausalLM'\]"),
        ({"model_type": None, "architectures": ["LlamaForCausalLM"] * 2}, "found none, and architectures: "),
        ({"model_type": None, "architectures": [[]]}, "found none, and architectures: list"),
        (
            {"per_layer_config": {"0": {}}},
            "per_layer_config: expected null .transformers reads it for llama, ",
        ),
        ({"is_causal": False}, "is_causal: expected true .transformers reads it for llama, .*, found False"),
        ({"is_causal": None}, "is_causal: expected true .*, found None"),
        ({"attention_chunk_size": 8}, "attention_chunk_size: expected null .*, found 8"),
        ({"text_config": {}}, "text_config: expected null .*, found {}"),
        ({"transformers_weights": "x.safetensors"}, "transformers_weights: expected null .*, found 'x.safetensors'"),
        ({"is_encoder_decoder": True}, "is_encoder_decoder: expected false .*, found True"),
        ({"return_dict": False}, "return_dict: expected true .*, found False"),
        ({"use_return_dict": True}, "use_return_dict: expected null .*, found True"),
        ({"hidden_act": "relu"}, "hidden_act: expected one of silu, .*, found 'relu'"),
        ({"hidden_act": []}, r"hidden_act: expected a string, found \[\]"),
        ({"hidden_size": "64"}, "hidden_size: expected an integer, found '64'"),
        ({"hidden_size": 64.0}, "hidden_size: expected an integer, found 64.0"),
        ({"hidden_size": 65}, "num_attention_heads: expected a divisor of hidden_size = 65, found 32"),
        ({"hidden_size": 65, "head_dim": 4}, "divisor of hidden_size = 65, as transformers requires for llama"),
        ({"hidden_size": 96}, "hidden_size / num_attention_heads: expected an even number, found 3"),
        ({"num_attention_heads": 0}, "num_attention_heads: expected 1 to"),
        ({"num_key_value_heads": 5}, "num_key_value_heads: expected a divisor of num_attention_heads = 32, found 5"),
        ({"head_dim": 0}, "head_dim: expected a positive integer or null, found 0"),
        ({"head_dim": 3}, "head_dim: expected an even number, found 3"),
        ({"head_dim": True}, "head_dim: expected an integer or null, found True"),
        ({"attention_bias": 1}, "attention_bias: expected true or false, found 1"),
        ({"tie_word_embeddings": None}, "tie_word_embeddings: expected true or false, found None"),
        ({"rms_norm_eps": None}, "rms_norm_eps: expected a float, found None"),
        ({"rms_norm_eps": 1}, "rms_norm_eps: expected a float, found 1"),
        ({"rms_norm_eps": 0.0}, "rms_norm_eps: expected a positive finite number"),
        ({"vocab_size": 10**4000}, "vocab_size: expected 1 to"),
        ({"max_position_embeddings": None}, "max_position_embeddings: expected an integer, found None"),
        ({"use_cache": None}, "use_cache: expected true or false, found None"),
        ({"eos_token_id": ["x"]}, r"eos_token_id: expected an integer or a list of integers or null, found \['x'\]"),
        ({"initializer_range": 1.5}, "initializer_range: expected 0 to 1, found 1.5"),
        ({"pretraining_tp": True}, "pretraining_tp: expected an integer or null, found True"),
        ({"pad_token_id": 29}, "pad_token_id: expected null or a token of the 29 that vocab_size says, .*, found 29"),
        ({"torch_dtype": "torch.float16"}, "torch_dtype: expected one of float32, .*, found 'torch.float16'"),
        ({"dtype": "auto", "torch_dtype": "float16"}, "dtype: expected one of float32, .*, found 'auto'"),
        (
            {"output_attentions": True, "attn_implementation": "sdpa"},
            "output_attentions: expected false with",
        ),
    ],
)
def test_fields_are_checked(changes: dict[str, Any], message: str) -> None:
    refused(message, **changes)


@pytest.mark.parametrize(
    ("said", "found"),
    [
        ({"quant_method": "gptq", "bits": 4}, "gptq"),
        ({"quant_method": "fp8", "activation_scheme": "dynamic"}, "fp8"),
        ({"quant_method": "bitsandbytes", "load_in_4bit": True}, "bitsandbytes, 4 bits"),
        ({"load_in_8bit": True, "load_in_4bit": False}, "bitsandbytes, 8 bits"),
        ({"quant_method": "compressed-tensors"}, "compressed-tensors"),
        ({"a": 1}, "{'a': 1}"),
        ({}, "{}"),
        (True, "True"),
    ],
)
def test_quantized_sources_are_refused_with_their_method(said: object, found: str) -> None:
    with pytest.raises(exporter.CheckpointError) as caught:
        read(quantization_config=said)
    assert str(caught.value).endswith(
        f"quantization_config: expected unquantized weights, found {found}: give the unquantized model"
    )


@pytest.mark.parametrize(
    ("kind", "changes", "message"),
    [
        ("mistral", {"num_key_value_heads": None}, "num_key_value_heads: expected an integer, found None"),
        ("mistral", {"sliding_window": "4096"}, "sliding_window: expected an integer or null, found '4096'"),
        ("mistral", {"attention_dropout": None}, "attention_dropout: expected an integer or a float, found None"),
        ("qwen2", {"use_sliding_window": None}, "use_sliding_window: expected true or false, found None"),
        ("qwen2", {"head_dim": None}, "head_dim: expected an integer, found None"),
        ("qwen2", {"mlp_layer_types": ["dense"]}, "mlp_layer_types: expected null"),
    ],
)
def test_each_family_has_rules_of_its_own(kind: str, changes: dict[str, Any], message: str) -> None:
    refused(message, kind, **changes)


def test_a_head_is_rounded_down_where_transformers_rounds_it() -> None:
    for kind in ("mistral", "qwen2"):
        assert read(kind, hidden_size=65).head_dim == 2


def test_layers_that_are_only_said_to_be_there_take_no_memory() -> None:
    tracemalloc.start()
    try:
        refused("layer_types: expected full_attention", num_hidden_layers=10**7, layer_types=[])
        assert tracemalloc.get_traced_memory()[1] < 2 * 10**7  # reading any config.json takes half of it
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("key", list(SIZES))
def test_sizes_are_never_guessed(key: str) -> None:
    text = {"model_type": "llama", **{name: size for name, size in SIZES.items() if name != key}}
    with pytest.raises(exporter.CheckpointError, match=f"config.json: missing {key}$"):
        read_text(json.dumps(text))


SEEN = {
    "max_sequence_length": 2048,
    "use_bfloat16": False,
    "tf_legacy_loss": False,
    "pruned_heads": {},
    "tie_encoder_decoder": False,
    "cross_attention_hidden_size": None,
    "unk_token_id": 0,
    "_model_name_or_path": "x",
    "gradient_checkpointing": False,
    "keys_to_ignore_at_inference": ["past_key_values"],
    "internal_version": 1,
    "anything": None,
    "pretraining_tp": 2,
    "torch_dtype": "bfloat16",
    "bos_token_id": 1,
    "eos_token_id": [2, 3],
    "pad_token_id": -1,
    "use_cache": False,
    "initializer_range": 0.1,
    "attention_dropout": 0.1,
    "transformers_version": "4.31",
    "_name_or_path": "x",
    "quantization_config": None,
    "partial_rotary_factor": 1.0,
    "chunk_size_feed_forward": 4,
    "is_encoder_decoder": None,
    "rope_interleaved": False,
}


@pytest.mark.parametrize("kind", ["llama", "mistral", "qwen2"])
@pytest.mark.parametrize("key", [*SEEN, "all of them"])
def test_keys_that_change_no_logits_are_passed_over(kind: str, key: str) -> None:
    assert read(kind, **(SEEN if key not in SEEN else {key: SEEN[key]})) == read(kind)


def test_what_transformers_ignores_is_noted() -> None:
    config, notes = noted(
        "mistral", attention_bias=True, use_sliding_window=True, max_sequence_length=9, pruned_heads={"0": [1]}
    )
    assert config == read("mistral")
    assert notes == [
        "ignored, as transformers ignores it: attention_bias, use_sliding_window, max_sequence_length, pruned_heads"
    ]
    assert noted(**{"a\nb": 1})[1] == [r"ignored, as transformers ignores it: 'a\nb'"]
    assert noted(auto_map={"AutoModel": "x.Y"})[1] == ["auto_map names remote code, which is not used"]
    many = noted(**{f"key{number}": 1 for number in range(25)})[1]
    assert many[0].endswith("key18, key19 and 5 more")
    assert noted(**SEEN)[1] == ["ignored, as transformers ignores it: max_sequence_length, _model_name_or_path"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "expected JSON, found otherwise"),
        ("{", "expected JSON, found otherwise"),
        (b"\xff\xfe{}", "expected JSON, found otherwise"),
        ("[1]", "expected a JSON object, found list"),
        ("null", "expected a JSON object, found NoneType"),
        ('{"hidden_size": 1, "hidden_size": 2}', "expected each key once, found 'hidden_size' twice"),
        ('{"rope_scaling": {"factor": 1, "factor": 1}}', "expected each key once, found 'factor' twice"),
        ('{"rms_norm_eps": NaN}', "expected numbers that JSON has, found NaN"),
        ('{"rms_norm_eps": -Infinity}', "expected numbers that JSON has, found -Infinity"),
        ('{"hidden_size": ' + "[" * 100_000 + "]" * 100_000 + "}", "of a few levels, found too many"),
        ('{"hidden_size": ' + "1" * 10_000 + "}", "expected JSON, found otherwise: Exceeds the limit"),
        (" " * 10_000_001, "expected at most 10000000 bytes, found more"),
    ],
)
def test_what_is_no_config_is_refused_in_one_line(text: str | bytes, message: str) -> None:
    with pytest.raises(exporter.CheckpointError, match=message) as caught:
        read_text(text)
    assert "\n" not in str(caught.value)
    assert "config.json: " in str(caught.value)


@pytest.mark.parametrize("depth", range(50, 1000, 50))
def test_a_value_of_any_depth_is_refused_in_one_line(depth: int) -> None:
    value = "[" * depth + "]" * depth
    for key in ("vocab_size", "hidden_act", "rope_theta", "pad_token_id", "dtype", "quantization_config"):
        text = (
            json.dumps({"model_type": "llama", **SIZES})
            .replace("{", f'{{"{key}": 0, ')
            .replace(": 0,", f": {value},", 1)
        )
        with pytest.raises(exporter.CheckpointError) as caught:
            read_text(text)
        assert len(str(caught.value)) < 700


def test_a_config_that_is_no_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(exporter.CheckpointError, match=r"config\.json: no such file or directory"):
        read_config(tmp_path / "config.json")
    (tmp_path / "config.json").mkdir()
    with pytest.raises(exporter.CheckpointError, match=r"config\.json: is a directory"):
        read_config(tmp_path / "config.json")


@pytest.mark.parametrize(("kind", "kv_heads"), [("llama", 64), ("mistral", 8), ("qwen2", 32)])
def test_kv_heads_that_are_not_given_are_those_of_the_family(kind: str, kv_heads: int) -> None:
    """With 64 heads, so that a number of the class and one a head differ."""
    sizes = {"hidden_size": 128, "num_attention_heads": 64}
    assert read(kind, **sizes).n_kv_heads == kv_heads
    assert AutoConfig.for_model(kind, **sizes).num_key_value_heads == kv_heads
