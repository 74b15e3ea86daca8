"""config.json means what transformers takes it for: defaults, RoPE, and every refusal by name."""

from __future__ import annotations

import json
import math
import tracemalloc
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pytest
import transformers
from helpers import hf_directories
from hypothesis import example, given
from hypothesis import strategies as st
from transformers.models.llama.modeling_llama import LlamaRotaryEmbedding

import exporter
from exporter.sources.huggingface_config import read_config

_NAMES = {"llama": "LlamaForCausalLM", "mistral": "MistralForCausalLM", "qwen2": "Qwen2ForCausalLM"}
_SIZES = {
    "hidden_size": 64,
    "intermediate_size": 40,
    "num_hidden_layers": 2,
    "num_attention_heads": 32,
    "vocab_size": 29,
}


def read(kind: str = "llama", **changes: Any) -> exporter.ModelConfig:
    """A config.json with the sizes alone, and changes."""
    silent = {"sliding_window": None} if kind == "mistral" else {}
    return read_text(json.dumps({"architectures": [_NAMES[kind]], **_SIZES, **silent, **changes}))


def read_text(text: str | bytes) -> exporter.ModelConfig:
    with TemporaryDirectory() as directory:
        path = Path(directory) / "config.json"
        path.write_bytes(text.encode() if isinstance(text, str) else text)
        return read_config(path)


def refused(message: str, kind: str = "llama", **changes: Any) -> None:
    with pytest.raises(exporter.CheckpointError, match=message) as caught:
        read(kind, **changes)
    assert "\n" not in str(caught.value)
    assert "config.json: " in str(caught.value)


@pytest.mark.parametrize("kind", ["llama", "mistral", "qwen2"])
@pytest.mark.parametrize("null", [False, True])
def test_defaults_are_those_of_transformers(kind: str, null: bool) -> None:
    nulls = {"head_dim": None, "rope_scaling": None} if null else {}
    if null and kind != "mistral":  # whose class takes no null here
        nulls["num_key_value_heads"] = None
    theirs = hf_directories.CLASSES[kind][0](**_SIZES, **nulls)
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


def test_mistrals_window_is_4096_where_it_is_not_given() -> None:
    assert transformers.MistralConfig().sliding_window == 4096
    text = {"architectures": ["MistralForCausalLM"], **_SIZES, "max_position_embeddings": 4096}
    assert read_text(json.dumps(text)).max_seq_len == 4096
    text["max_position_embeddings"] = 4097
    with pytest.raises(
        exporter.CheckpointError, match=r"sliding_window \(4096 where .*embeddings = 4097, found 4096"
    ):
        read_text(json.dumps(text))


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


def frequencies(config: exporter.ModelConfig) -> tuple[np.ndarray, float]:
    """Of each pair, and what sines and cosines are multiplied by: RopeScaling's own words, in numpy."""
    s, size = config.rope_scaling, config.head_dim
    plain = config.rope_theta ** (-np.arange(0, size, 2) / size)
    if s.type == "linear":
        return plain / s.factor, 1.0
    if s.type == "llama3":
        turns = s.original_max_positions * plain / (2 * math.pi)
        kept = np.clip((turns - s.low_freq_factor) / (s.high_freq_factor - s.low_freq_factor), 0, 1)
        return plain * (kept + (1 - kept) / s.factor), 1.0
    if s.type == "yarn":

        def pair(turns: float) -> float:
            return (
                size * math.log(s.original_max_positions / (turns * 2 * math.pi)) / (2 * math.log(config.rope_theta))
            )

        low, high = pair(s.beta_fast), pair(s.beta_slow)
        if s.truncate:
            low, high = math.floor(low), math.ceil(high)
        low, high = max(low, 0), min(high, size - 1)
        high += 0.001 if low == high else 0
        divided = np.clip((np.arange(size // 2) - low) / (high - low), 0, 1)
        return plain * (divided / s.factor + 1 - divided), s.attention_factor
    return plain, 1.0


@st.composite
def ropes(draw: st.DrawFn) -> dict[str, Any]:
    numbers = st.floats(1, 50).map(lambda x: round(x, 2))
    kind = draw(st.sampled_from(["default", "linear", "dynamic", "llama3", "yarn"]))
    made: dict[str, Any] = {"rope_type": kind, "rope_theta": draw(st.sampled_from([100.0, 10000.0, 5e5]))}
    if kind != "default":
        made["factor"] = draw(numbers)
    if kind in ("llama3", "yarn") and draw(st.booleans()):
        made["original_max_position_embeddings"] = draw(st.integers(8, 9000))
    if kind == "llama3":
        made["low_freq_factor"] = draw(numbers)
        made["high_freq_factor"] = made["low_freq_factor"] + draw(numbers)
    if kind == "yarn":
        fields = {
            "beta_fast": numbers.map(lambda x: x + 20),
            "beta_slow": st.sampled_from([None, 0, 0.5, 1, 2]),
            "attention_factor": numbers,
            "mscale": st.sampled_from([None, 0, 0.7, 1.0]),
            "mscale_all_dim": st.sampled_from([0, 0.5, 1.0]),
            "truncate": st.booleans(),
        }
        made |= draw(st.fixed_dictionaries({}, optional=fields))
    return made


@given(ropes(), st.booleans(), st.sampled_from([8, 16, 64]), st.sampled_from([64, 9001]))
@example({"rope_type": "yarn", "factor": None, "original_max_position_embeddings": 4096}, False, 64, 9001)
@example({"rope_type": "yarn", "factor": 0.5}, False, 64, 64)
@example({"rope_type": "yarn", "factor": 4, "mscale": 0.7, "mscale_all_dim": 0.5}, True, 64, 64)
def test_rope_turns_as_fast_as_in_transformers(
    rope: dict[str, Any], old: bool, head_dim: int, positions: int
) -> None:
    given_keys: dict[str, Any] = {"rope_parameters": rope}
    if old:  # as transformers 4 wrote it
        inner = {"type" if key == "rope_type" else key: value for key, value in rope.items() if key != "rope_theta"}
        given_keys = {"rope_theta": rope.get("rope_theta", 10000.0), "rope_scaling": inner}
    given_keys |= {"head_dim": head_dim, "max_position_embeddings": positions}
    theirs = LlamaRotaryEmbedding(transformers.LlamaConfig(**_SIZES, **json.loads(json.dumps(given_keys))))
    found, scale = frequencies(read(**given_keys))
    np.testing.assert_allclose(found, theirs.inv_freq.numpy(), rtol=2e-5)
    assert scale == theirs.attention_scaling


def test_dynamic_scaling_begins_after_the_positions_there_are() -> None:
    scaling = read(rope_scaling={"type": "dynamic", "factor": 2}, max_position_embeddings=50).rope_scaling
    assert scaling == exporter.RopeScaling("dynamic", factor=2.0, original_max_positions=50)


def test_what_stands_outside_the_rope_parameters_counts() -> None:
    config: dict[str, Any] = {"rope_parameters": {"rope_type": "yarn", "factor": 2}, "head_dim": 64}
    config["original_max_position_embeddings"] = 100
    theirs = LlamaRotaryEmbedding(transformers.LlamaConfig(**_SIZES, **json.loads(json.dumps(config))))
    ours = read(**config)
    assert ours.rope_scaling.original_max_positions == 100
    np.testing.assert_allclose(frequencies(ours)[0], theirs.inv_freq.numpy(), rtol=2e-5)


_LINEAR = {"rope_type": "linear", "factor": 2.0}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"rope_scaling": _LINEAR, "rope_parameters": {**_LINEAR, "factor": 3}}, "expected what rope_scaling says"),
        (
            {"rope_theta": 1e4, "rope_parameters": {"rope_theta": 5e5}},
            "rope_theta: expected what rope_parameters says",
        ),
        (
            {"rope_scaling": {"type": "linear", "rope_type": "yarn", "factor": 2}},
            "rope_type: expected what type says",
        ),
        (
            {
                "original_max_position_embeddings": 9,
                "rope_parameters": {"rope_type": "yarn", "factor": 2, "original_max_position_embeddings": 8},
            },
            "original_max_position_embeddings: expected what config.json says outside, 9, found 8",
        ),
        (
            {"rope_scaling": {"type": "dynamic", "factor": 2, "original_max_position_embeddings": 8}},
            "expected max_position_embeddings = 2048 for dynamic, found 8",
        ),
        (
            {"rope_scaling": {"type": "longrope", "factor": 2}},
            "rope_type: expected one of none, .*, found 'longrope'",
        ),
        ({"rope_parameters": {"rope_type": "proportional"}}, "found 'proportional'"),
        ({"rope_scaling": {"type": "mrope"}}, "found 'mrope'"),
        ({"rope_scaling": {"type": []}}, r"found \[\]"),
        ({"rope_scaling": [1]}, r"rope_scaling: expected an object or null, found \[1\]"),
        ({"rope_scaling": {"type": "linear"}}, "rope_scaling: missing factor for linear"),
        ({"rope_scaling": {"type": "llama3", "factor": 2}}, "missing low_freq_factor for llama3"),
        (
            {"rope_scaling": {"type": "linear", "factor": 0}},
            "rope_scaling: factor: expected a positive finite number",
        ),
        ({"rope_scaling": {"type": "linear", "factor": "2"}}, "factor: expected a number, found '2'"),
        ({"rope_scaling": {"type": "linear", "factor": 10**400}}, "factor: expected a finite number, found 1000"),
        ({"rope_scaling": {**_LINEAR, "beta": 1}}, "no known meaning for linear, .*: 'beta'"),
        ({"rope_parameters": {"full_attention": _LINEAR}}, "no known meaning for default, .*: 'full_attention'"),
        ({"rope_parameters": {"partial_rotary_factor": 0.5}}, "partial_rotary_factor: expected 1, found 0.5"),
        ({"partial_rotary_factor": 0.5}, "partial_rotary_factor: expected 1 or null, found 0.5"),
        ({"rope_scaling": {"type": "yarn", "factor": 2, "truncate": None}}, "truncate: expected true or false"),
        (
            {"rope_scaling": {"type": "yarn", "factor": None, "original_max_position_embeddings": 0}},
            "original_max_position_embeddings: expected a positive integer, found 0",
        ),
        ({"rope_theta": 0}, "rope_theta: expected a positive number, found 0"),
        ({"rope_theta": "1e4"}, "rope_theta: expected a number, found '1e4'"),
        ({"rope_parameters": {"rope_theta": None}}, "rope_theta: expected a number, found None"),
    ],
)
def test_rope_is_checked(changes: dict[str, Any], message: str) -> None:
    refused(message, **changes)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"architectures": ["GemmaForCausalLM"]},
            r"architectures: expected one of Llama.*, found \['GemmaForCausalLM'\]",
        ),
        ({"architectures": ["LlamaForSequenceClassification"]}, "found .'LlamaForSequenceClassification'"),
        ({"architectures": ["LlamaForCausalLM", "LlamaModel"]}, "architectures: expected one of"),
        ({"architectures": "LlamaForCausalLM"}, "architectures: expected one of"),
        ({"architectures": [[]]}, "architectures: expected one of"),
        ({"architectures": None}, "found none, and model_type: None"),
        ({"architectures": None, "model_type": "gemma"}, "found none, and model_type: 'gemma'"),
        ({"model_type": "mistral"}, "model_type: expected 'llama' for LlamaForCausalLM, found 'mistral'"),
        ({"quantization_config": {"quant_method": "gptq"}}, "quantization_config: expected null, found {'quant_meth"),
        ({"use_parallel_residual": False}, "no known meaning for llama, .*: 'use_parallel_residual'"),
        ({"a\nb": 1}, r"may change the model: 'a\\nb'"),
        ({"sliding_window": 4096}, "sliding_window: expected null, found 4096"),
        ({"pretraining_tp": 2}, "pretraining_tp: expected 1 or null, found 2"),
        ({"pretraining_tp": True}, "pretraining_tp: expected 1 or null, found True"),
        ({"rope_interleaved": True}, "rope_interleaved: expected false or null, found True"),
        (
            {"layer_types": ["full_attention", "sliding_attention"]},
            "layer_types: expected full_attention for each of 2",
        ),
        ({"hidden_act": "relu"}, "hidden_act: expected one of silu, .*, found 'relu'"),
        ({"hidden_act": []}, r"hidden_act: expected one of silu, .*, found \[\]"),
        ({"hidden_size": "64"}, "hidden_size: expected an integer, found '64'"),
        ({"hidden_size": 64.0}, "hidden_size: expected an integer, found 64.0"),
        ({"hidden_size": 65}, "num_attention_heads: expected a divisor of hidden_size = 65, found 32"),
        ({"hidden_size": 96}, "hidden_size / num_attention_heads: expected an even number, found 3"),
        ({"num_attention_heads": 0}, "num_attention_heads: expected 1 to"),
        ({"num_key_value_heads": 5}, "num_key_value_heads: expected a divisor of num_attention_heads = 32, found 5"),
        ({"head_dim": 0}, "head_dim: expected a positive integer or null, found 0"),
        ({"head_dim": 3}, "head_dim: expected an even number, found 3"),
        ({"attention_bias": 1}, "attention_bias: expected true or false, found 1"),
        ({"tie_word_embeddings": None}, "tie_word_embeddings: expected true or false, found None"),
        ({"rms_norm_eps": None}, "rms_norm_eps: expected a number, found None"),
        ({"rms_norm_eps": 0}, "rms_norm_eps: expected a positive finite number"),
        ({"vocab_size": 10**4000}, "vocab_size: expected 1 to"),
        ({"max_position_embeddings": None}, "max_position_embeddings: expected an integer, found None"),
    ],
)
def test_fields_are_checked(changes: dict[str, Any], message: str) -> None:
    refused(message, **changes)


@pytest.mark.parametrize(
    ("kind", "changes", "message"),
    [
        ("mistral", {"sliding_window": 4096}, "at least max_position_embeddings = 131072, found 4096"),
        ("mistral", {"sliding_window": "4096"}, "sliding_window: expected an integer or null, found '4096'"),
        ("mistral", {"attention_bias": True}, "attention_bias: expected false, found True"),
        ("mistral", {"use_sliding_window": True}, "use_sliding_window: expected false, found True"),
        ("qwen2", {"use_sliding_window": True}, "use_sliding_window: expected false, found True"),
        ("qwen2", {"attention_bias": False}, "no known meaning for qwen2, .*: 'attention_bias'"),
        ("qwen2", {"use_mrope": True}, "use_mrope: expected false, found True"),
        ("qwen2", {"mlp_bias": True}, "mlp_bias: expected false, found True"),
        ("qwen2", {"layer_types": ["sliding_attention"] * 2}, "layer_types: expected full_attention"),
    ],
)
def test_what_only_others_have_is_refused(kind: str, changes: dict[str, Any], message: str) -> None:
    refused(message, kind, **changes)


def test_layers_that_are_only_said_to_be_there_take_no_memory() -> None:
    tracemalloc.start()
    try:
        refused("layer_types: expected full_attention", num_hidden_layers=10**7, layer_types=[])
        assert tracemalloc.get_traced_memory()[1] < 2 * 10**7  # reading any config.json takes half of it
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("key", list(_SIZES))
def test_sizes_are_never_guessed(key: str) -> None:
    text = {"model_type": "llama", **{name: size for name, size in _SIZES.items() if name != key}}
    with pytest.raises(exporter.CheckpointError, match=f"config.json: missing {key}$"):
        read_text(json.dumps(text))


@pytest.mark.parametrize("kind", sorted(_NAMES))
def test_harmless_keys_are_passed_over(kind: str) -> None:
    changes = {
        "torch_dtype": "bfloat16",
        "bos_token_id": 1,
        "eos_token_id": [2, 3],
        "use_cache": False,
        "initializer_range": 0.1,
        "attention_dropout": 0.1,
        "pretraining_tp": 1,
        "transformers_version": "4.31",
        "_name_or_path": "x",
        "quantization_config": None,
        "partial_rotary_factor": 1.0,
        "layer_types": ["full_attention"] * 2,
        "model_type": kind,
    }
    assert read(kind, **changes) == read(kind)
    assert read("qwen2", use_mrope=False, sliding_window=9, max_window_layers=1) == read("qwen2")
    assert read(rope_interleaved=False, is_llama_config=True) == read()
    assert read(kind, architectures=None, model_type=kind) == read(kind)


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
    for key in ("vocab_size", "hidden_act", "rope_theta", "architectures", "unknown"):
        text = (
            json.dumps({"model_type": "llama", **_SIZES})
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
