"""One judgement of what a config.json means: the exporter takes a directory if and only if the verifier does, both
read the same hyper-parameters, and what both take is, to the last digits of float64, what transformers computes."""

from __future__ import annotations

import json
import re
import tempfile
from pathlib import Path
from typing import Any

import pytest
from helpers.config_draws import Json, configs, spoilt_configs
from helpers.config_law import Judged, judge
from hypothesis import HealthCheck, event, example, given, settings
from hypothesis import strategies as st

pytestmark = pytest.mark.usefixtures("one_thread")

# 300 in CI, 3,000 in `make deep`
_DRAWN = min(5 * settings().max_examples, 3000)

SIZES: Json = {
    "vocab_size": 7,
    "hidden_size": 8,
    "intermediate_size": 5,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
    "head_dim": 4,
    "max_position_embeddings": 12,
}

# Why both may refuse what transformers runs: what no file of ours holds, or no format's field takes.
_LIMITS = (
    r"\(transformers reads it for (llama|mistral|qwen2), and this project does not support other values\)",
    r"quantization_config: expected unquantized weights",
    r"sliding_window.*: expected .*: --max-seq-len \d+ or less makes it exact$",
    r"max_seq_len: expected 1 to max_position_embeddings",
    r"hidden_act: expected one of silu, swish, gelu, gelu_new, gelu_pytorch_tanh",
    r"(rms_norm_eps|rope_theta|partial_rotary_factor|max_position_embeddings): expected ",
    r"(rope_parameters|rope_scaling): (.*: expected |missing )",
    r"(head_dim|hidden_size / num_attention_heads): expected an even number",
    r"missing (hidden_size|intermediate_size|num_hidden_layers|num_attention_heads|vocab_size)$",
    r"layer_types: expected none for mistral",
    r"dtype: expected one of float32, float16",  # transformers would fail on it, if it were not told another one
    r"layer_types: expected (full_attention or sliding_attention for each|a sliding_window for sliding_attention)",
)


def judged(said: Json, asked: int | None = None) -> Judged:
    with tempfile.TemporaryDirectory() as directory:
        return judge(Path(directory), said, asked)


# the fixture concerns speed alone, so all draws may share it
_LAW = settings(
    max_examples=_DRAWN, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
_ASKED = st.sampled_from([None, None, None, 2, 4, 5])


@pytest.mark.slow
@_LAW
@given(configs(), _ASKED)
@example({"model_type": "llama", **SIZES, "return_dict": False}, None)
@example({"model_type": "llama", **SIZES, "is_encoder_decoder": None}, None)
@example({"model_type": "mistral", **SIZES, "layer_types": None, "sliding_window": None}, None)
@example({"model_type": "mistral", **SIZES, "sliding_window": 1 << 20}, 4)
@example({"model_type": "qwen2", **SIZES}, 13)
def test_both_roads_take_the_same_configs_for_what_transformers_takes_them_for(said: Json, asked: int | None) -> None:
    made = judged(said, asked)
    assert made.disagreement is None, json.dumps(said)
    event("refused" if isinstance(made.exporter, str) else "accepted")
    if isinstance(made.exporter, str) and not isinstance(made.transformers, str):
        assert any(re.search(limit, made.exporter) for limit in _LIMITS), made.exporter


@pytest.mark.slow
@_LAW
@given(spoilt_configs(), _ASKED)
@example({"model_type": "llama", **SIZES, "id2label": 2}, None)
@example({"model_type": "llama", **SIZES, "partial_rotary_factor": {"0": "a"}}, None)
@example({"model_type": "qwen2", **SIZES, "rope_scaling": {"type": "default", "full_attention": None}}, None)
def test_both_roads_take_wrong_values_alike(said: Json, asked: int | None) -> None:
    made = judged(said, asked)
    assert made.disagreement is None, json.dumps(said)


@pytest.mark.parametrize("family", ["llama", "mistral", "qwen2"])
@pytest.mark.parametrize(
    "spelling",
    [
        {"rope_scaling": {"type": "linear", "factor": 2.0}, "rope_theta": 5e5},
        {"rope_scaling": {"rope_type": "linear", "factor": 2.0}, "rope_theta": 5e5},
        {"rope_parameters": {"rope_type": "linear", "factor": 2.0, "rope_theta": 5e5}},
        {"rope_parameters": {"type": "linear", "factor": 2.0}, "rope_theta": 500000},
        {
            "rope_parameters": None,
            "rope_scaling": {"type": "linear", "factor": 2.0, "finetuned": True, "rope_theta": 5e5},
        },
    ],
    ids=str,
)
def test_every_spelling_of_rope_means_the_same(family: str, spelling: dict[str, Any]) -> None:
    said = {"model_type": family, **SIZES, "sliding_window": None, **spelling}
    made = judged(said)
    assert made.disagreement is None
    assert isinstance(made.verifier, dict)
    assert (made.verifier["rope_theta"], made.verifier["rope_scaling"]["type"]) == (5e5, "linear")
    assert made.verifier["rope_scaling"]["factor"] == 2.0


@pytest.mark.parametrize(
    "silent",
    [
        {"max_sequence_length": 2048},
        {"use_bfloat16": False, "tf_legacy_loss": False, "pruned_heads": {}, "tie_encoder_decoder": False},
        {"cross_attention_hidden_size": None, "unk_token_id": 0, "_model_name_or_path": "x"},
        {
            "gradient_checkpointing": False,
            "keys_to_ignore_at_inference": ["past_key_values"],
            "internal_version": "1",
        },
        {"whatever": None, "pretraining_tp": 2, "architectures": ["LLaMAForCausalLM"]},
        {"architectures": None, "torch_dtype": "float16"},
        {"dtype": "bfloat16", "auto_map": {"AutoModelForCausalLM": "modeling_x.X"}},
    ],
    ids=str,
)
def test_what_transformers_does_not_read_is_no_reason_to_refuse(silent: Json) -> None:
    plain, made = (judged({"model_type": "llama", **SIZES, **more}) for more in ({}, silent))
    assert made.disagreement is None
    assert made.exporter == plain.exporter
    assert isinstance(made.exporter, dict)


def test_the_law_sees_another_reading(monkeypatch: pytest.MonkeyPatch) -> None:
    """A fault in either road: a wrong default, a key that is passed over."""
    from exporter.sources import huggingface_fields, huggingface_rope
    from verify.sources import huggingface_hyperparameters

    said = {"model_type": "llama", **SIZES, "rope_scaling": {"type": "linear", "factor": 2.0}}
    assert judged(said).disagreement is None
    with monkeypatch.context() as patch:
        patch.setitem(huggingface_fields.DEFAULTS["llama"], "rms_norm_eps", 1e-5)
        assert judged(said).disagreement == "exporter and verifier differ: {'norm_eps': (1e-05, 1e-06)}"
    with monkeypatch.context() as patch:
        patch.setitem(huggingface_hyperparameters.ACTIVATIONS, "silu", "gelu")
        assert judged(said).disagreement == "exporter and verifier differ: {'activation': ('silu', 'gelu')}"
        from exporter.sources import huggingface_config as exporters

        # both wrong in the same way: transformers' logits tell
        patch.setitem(exporters._ACTIVATIONS, "silu", "gelu")
        assert str(judged(said).disagreement).startswith("logits of transformers differ by up to ")
    with monkeypatch.context() as patch:
        patch.setitem(huggingface_rope._ROPE_KEYS, "linear", ())
        patch.setitem(huggingface_rope._REQUIRED, "linear", ("low_freq_factor",))
        assert str(judged(said).disagreement).startswith(
            "exporter: config.json: rope_scaling: missing low_freq_factor"
        )
