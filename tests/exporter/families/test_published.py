"""Published config.json files of each family, in their full size, and those of models that are refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from helpers.family_draws import meant
from helpers.hf_configs import SIZES, noted

import exporter
from exporter.families import FAMILIES
from exporter.sources.huggingface_config import read_config
from verify.system.optional_imports import quiet_transformers

PUBLISHED: dict[str, dict[str, Any]] = json.loads(Path(__file__).with_name("published.json").read_text())
# where some of them are from, and with what they were compared
FROM = PUBLISHED.pop("FROM")
NOTES = {
    "deepseek-ai/DeepSeek-R1-0528-Qwen3-8B": [
        "config.json: rope_scaling: ignored, as transformers ignores it: attn_factor"
    ],
    "google/gemma-2-2b": ["config.json: ignored, as transformers ignores it: hidden_act"],
    "google/gemma-3-1b-it": [],
    "microsoft/Phi-3-mini-4k-instruct": [
        "config.json: auto_map names remote code, which is not used",
    ],
}
# To how many positions those are cut that no engine can follow beyond.
CUT = {"microsoft/Phi-4-mini-instruct": 4096}


@pytest.mark.parametrize("name", PUBLISHED)
def test_a_published_config_means_what_transformers_makes_of_it(tmp_path: Path, name: str) -> None:
    (tmp_path / "config.json").write_text(json.dumps(PUBLISHED[name]))
    with quiet_transformers() as transformers:
        theirs = transformers.AutoConfig.from_pretrained(tmp_path, trust_remote_code=False)
    config, notes = read_config(tmp_path / "config.json", CUT.get(name))
    assert config == meant(theirs, PUBLISHED[name]["model_type"], CUT.get(name))
    if name in NOTES:
        assert list(notes) == NOTES[name]


def test_every_family_with_switches_is_among_them() -> None:
    """But for those that are nowhere published under their own model_type, or whose config.json was not at hand."""
    published = {said["model_type"] for said in PUBLISHED.values()}
    without = {"llama", "qwen2", "ministral", "cwm", "flex_olmo", "helium", "ernie4_5"}
    assert FAMILIES.keys() - published == without
    assert FROM.keys() <= PUBLISHED.keys()


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("Qwen/Qwen3-0.6B", {"qk_norm": "head", "window": 0, "layers": (), "rope_theta": 1e6, "head_dim": 128}),
        (
            "ibm-granite/granite-3.3-8b-instruct",
            {"score_scale": 2**-7, "logit_divisor": 16.0, "window": 0},
        ),
        ("google/gemma-2-27b", {"score_scale": 1 / 12, "score_cap": 50.0, "logit_cap": 30.0, "norm_place": "both"}),
        ("google/gemma-3-270m", {"score_scale": 1 / 16, "window": 512, "local_theta": 1e4, "norm_plus_one": True}),
        ("allenai/Olmo-3-1025-7B", {"norm_place": "after", "qk_norm": "whole", "local_theta": 5e5, "window": 4096}),
        ("microsoft/Phi-3-mini-4k-instruct", {"window": 2047, "rotary_dim": 0}),
        ("microsoft/Phi-4-mini-instruct", {"window": 0, "rotary_dim": 96, "tied": True, "max_seq_len": 4096}),
        ("mistralai/Mixtral-8x7B-v0.1", {"n_experts": 8, "n_active_experts": 2, "experts_normalized": True}),
        (
            "Qwen/Qwen3-30B-A3B",
            {"n_experts": 128, "n_active_experts": 8, "expert_hidden_dim": 768, "hidden_dim": 768, "qk_norm": "head"},
        ),
        ("google/gemma-2b", {"norm_plus_one": True, "embedding_scale": 2048**0.5, "activation": "gelu_tanh"}),
        ("LGAI-EXAONE/EXAONE-4.0-1.2B", {"norm_place": "after", "qk_norm": "head", "window": 0, "layers": ()}),
        ("ByteDance-Seed/Seed-OSS-36B-Instruct", {"qkv_bias": True, "wo_bias": False, "head_dim": 128}),
        ("allenai/OLMoE-1B-7B-0924", {"n_experts": 64, "experts_normalized": False, "qk_norm": "whole", "window": 0}),
    ],
)
def test_switches_have_the_values_that_the_models_are_known_for(
    tmp_path: Path, name: str, expected: dict[str, Any]
) -> None:
    (tmp_path / "config.json").write_text(json.dumps(PUBLISHED[name]))
    config, _ = read_config(tmp_path / "config.json", CUT.get(name))
    assert {field: getattr(config, field) for field in expected} == expected


ALL = (
    "llama, mistral, qwen2, qwen3, smollm3, granite, gemma2, gemma3_text, olmo2, olmo3, phi3, ministral3, "
    "ministral, gemma, exaone4, cwm, seed_oss, helium, ernie4_5, mixtral, "
    "qwen3_moe, olmoe, flex_olmo"
)
UNKNOWN = f"model_type: expected one of {ALL}, found '{{}}', which is not supported"


@pytest.mark.parametrize(
    ("model_type", "reason"),
    [
        ("qwen2_moe", ": another mixture of experts"),
        ("deepseek_v3", ": another mixture of experts"),
        ("gpt_oss", ": attention sinks and another mixture of experts"),
        ("llama4_text", ": chunked attention and another mixture of experts"),
        ("qwen3_next", ": gated DeltaNet"),
        ("qwen3_5", ": gated DeltaNet"),
        ("gemma3n_text", ": embeddings for each layer"),
        ("gemma4", ": embeddings for each layer"),
        ("phi4_multimodal", ": a multimodal model of another text part"),
        ("paligemma", ": attention in both directions over the prompt"),
        ("gpt2", ""),
    ],
)
def test_other_models_are_refused_by_name_and_reason(model_type: str, reason: str) -> None:
    assert refusal(model_type) == UNKNOWN.format(model_type) + reason


def refusal(kind: str, **changes: Any) -> str:
    with pytest.raises(exporter.CheckpointError) as caught:
        noted(kind, **{"pad_token_id": None, **changes})
    return str(caught.value).partition("config.json: ")[2]


LATE = {"llama_4_scaling_beta": 0.1, "original_max_position_embeddings": 9}
POSITIVE = "{}: expected a positive finite number, normal as float32, found {}"
LONG = {"type": "longrope", "short_factor": [1.0], "long_factor": [3.0]}
READS = "transformers reads it for {}, and this project does not support other values)"


@pytest.mark.parametrize(
    ("kind", "changes", "message"),
    [
        (
            "phi3",
            {"rope_scaling": LONG, "max_position_embeddings": 4097},
            "max_seq_len: expected at most 4096, beyond which longrope changes every earlier position, found 4097: "
            "--max-seq-len 4096 (max_seq_len= in Python) cuts the model to it",
        ),
        (
            "phi3",
            {"rope_scaling": {"type": "longrope", "long_factor": [1.0]}},
            "rope_scaling: missing short_factor for longrope, which transformers requires",
        ),
        (
            "phi3",
            {"rope_scaling": {**LONG, "type": "su"}},
            "rope_scaling: missing original_max_position_embeddings for su, which transformers requires",
        ),
        (
            "phi3",
            {"rope_scaling": {**LONG, "long_factor": [1.0, 2.0]}},
            "rope_scaling: long_factor: expected a list of 1 numbers, one for each rotated pair, found 2",
        ),
        (
            "phi3",
            {"rope_scaling": {**LONG, "short_factor": [1.0, 2.0], "long_factor": [3.0, 4.0]}, "head_dim": 4},
            "head_dim: expected hidden_size / num_attention_heads = 2, by which transformers counts the "
            "factors of longrope, found 4",
        ),
        (
            "phi3",
            {"rope_scaling": {**LONG, "short_factor": 1.0}},
            "rope_scaling: short_factor: expected a list of 1 numbers, one for each rotated pair, found 1.0",
        ),
        (
            "phi3",
            {"rope_scaling": {**LONG, "short_factor": [0.0]}},
            "rope_scaling: short_factors: 0: expected a positive finite number, found 0.0",
        ),
        (
            "phi3",
            {"rope_scaling": {**LONG, "short_factor": [1e39]}},
            "rope_scaling: short_factor: 0: expected a number that float32 holds, found 1e+39",
        ),
        (
            "phi3",
            {"rope_scaling": LONG, "original_max_position_embeddings": 1},
            "rope_scaling: original_max_position_embeddings: expected more than 1, whose logarithm transformers "
            "divides by, found 1",
        ),
        (
            "phi3",
            {"rope_scaling": {"type": "linear", "factor": 2.0}},
            "rope_scaling: rope_type: expected one of default, longrope, found 'linear'",
        ),
        (
            "phi3",
            {"head_dim": 10, "partial_rotary_factor": 0.5},
            "partial_rotary_factor: expected a share of 10 that leaves an even number of rotated elements, "
            "at least 2, found 0.5",
        ),
        ("granite", {"attention_multiplier": 0.0}, POSITIVE.format("attention_multiplier", "0.0")),
        ("granite", {"logits_scaling": -1}, POSITIVE.format("logits_scaling", "-1")),
        ("gemma2", {"head_dim": 4, "attn_logit_softcapping": 0.0}, POSITIVE.format("attn_logit_softcapping", "0.0")),
        ("gemma2", {"query_pre_attn_scalar": 0}, POSITIVE.format("query_pre_attn_scalar", "0")),
        ("gemma2", {"query_pre_attn_scalar": 1.5}, "query_pre_attn_scalar: expected an integer, found 1.5"),
        ("gemma2", {"sliding_window": None}, "sliding_window: expected an integer, found null"),
        *(
            (
                family,
                {"use_bidirectional_attention": True},
                f"use_bidirectional_attention: expected false ({READS.format(family)}, found True",
            )
            for family in ("gemma2", "gemma3_text")
        ),
        (
            "gemma3_text",
            {"sliding_window_pattern": 0},
            "sliding_window_pattern: expected an integer other than 0, found 0",
        ),
        (
            "gemma3_text",
            {"rope_parameters": {"rope_type": "default", "rope_theta": 1e4}},
            "rope_parameters: expected full_attention and sliding_attention, one RoPE for each, found 'rope_type'",
        ),
        (
            "olmo3",
            {"rope_parameters": {"sliding_attention": {"rope_type": "linear", "factor": 2.0}}},
            "rope_parameters: sliding_attention: rope_type: expected default, since no format scales a second RoPE, "
            "found 'linear'",
        ),
        (
            "olmo3",
            {"rope_parameters": {"full_attention": []}},
            "rope_parameters: full_attention: expected an object or null, found []",
        ),
        (
            "olmo3",
            {"rope_parameters": {}, "rope_scaling": {"rope_type": "linear", "factor": 2.0}},
            "rope_parameters: expected full_attention, into which transformers merges rope_scaling, found none",
        ),
        ("smollm3", {"no_rope_layers": [1]}, "no_rope_layers: expected 0 or 1 for each of 2 layers, found 1 of them"),
        (
            "smollm3",
            {"no_rope_layer_interval": 0},
            "no_rope_layer_interval: expected another number than 0, found 0",
        ),
        (
            "smollm3",
            {"sliding_window": 4, "layer_types": ["full_attention", "sliding_attention"]},
            "layer_types: expected full_attention alone where use_sliding_window is false (transformers' ways to "
            "compute attention differ then), found ['full_attention', 'sliding_attention']",
        ),
        (
            "ministral3",
            {"rope_parameters": {"rope_type": "default"}},
            "rope_parameters: missing llama_4_scaling_beta, which transformers computes with",
        ),
        (
            "ministral3",
            {"rope_parameters": {"rope_type": "default", "llama_4_scaling_beta": 0.1}},
            "rope_parameters: original_max_position_embeddings: expected a positive integer, found None",
        ),
        (
            "ministral3",
            {"rope_scaling": {"type": "linear", "factor": 2.0, **LATE, "llama_4_scaling_beta": -1}},
            "rope_scaling: llama_4_scaling_beta: expected 0 or more, found -1",
        ),
    ],
)
def test_what_a_family_does_not_compute_is_refused(kind: str, changes: dict[str, Any], message: str) -> None:
    assert refusal(kind, **changes) == message


def test_a_default_of_padding_is_held_against_the_vocabulary() -> None:
    """transformers makes no embedding whose padding is beyond it."""
    with pytest.raises(exporter.CheckpointError, match=r"pad_token_id: expected null or a token .* found 128004$"):
        noted("smollm3")


@pytest.mark.parametrize(
    ("changes", "theta", "local_theta"),
    [
        ({}, 5e5, 5e5),
        ({"rope_theta": 1e6}, 1e6, 5e5),  # transformers uses it up for full attention
        ({"rope_parameters": {"sliding_attention": {"rope_theta": 7.0}}, "rope_theta": 1e6}, 1e6, 7.0),
        ({"rope_parameters": {"full_attention": {"rope_theta": 7.0}}, "rope_theta": 1e6}, 7.0, 5e5),
    ],
)
def test_each_rope_of_olmo_has_the_theta_that_transformers_gives_it(
    changes: dict[str, Any], theta: float, local_theta: float
) -> None:
    with quiet_transformers() as transformers:
        theirs = transformers.Olmo3Config(**SIZES, **json.loads(json.dumps(changes)))
    config, _ = noted("olmo3", pad_token_id=None, sliding_window=9, **changes)
    assert (config.rope_theta, config.local_theta) == (theta, local_theta)
    found = theirs.rope_parameters
    assert (found["full_attention"]["rope_theta"], found["sliding_attention"]["rope_theta"]) == (theta, local_theta)


def test_truncate_within_a_kind_of_layers_is_ignored_with_a_note() -> None:
    yarn = {"rope_type": "yarn", "factor": 2.0, "original_max_position_embeddings": 9, "truncate": False}
    config, notes = noted("olmo3", pad_token_id=None, rope_scaling=yarn)
    assert config.rope_scaling.truncate
    assert notes == [
        "rope_parameters: full_attention: truncate is ignored, as transformers ignores it for kinds of layers"
    ]


def test_a_cap_of_gemma_3s_scores_is_without_effect() -> None:
    config, _ = noted("gemma3_text", attn_logit_softcapping=5.0)
    assert config.score_cap == 0


@pytest.mark.parametrize("kind", ["gemma", "gemma2", "gemma3_text"])
def test_attention_that_looks_back_alone_may_be_said(kind: str) -> None:
    said, _ = noted(kind, use_bidirectional_attention=False)
    assert (said, []) == noted(kind)


@pytest.mark.parametrize(
    ("kind", "changes"),
    [
        ("smollm3", {"no_rope_layer_interval": 3}),
        ("smollm3", {"no_rope_layer_interval": 2, "use_sliding_window": True, "sliding_window": 4}),
        ("olmo3", {"sliding_window": 4}),
        ("gemma2", {"sliding_window": 4}),
        ("gemma3_text", {"sliding_window": 4, "sliding_window_pattern": 3}),
        ("qwen3", {"sliding_window": 4, "use_sliding_window": True, "max_window_layers": 2}),
    ],
)
def test_layers_that_config_json_does_not_list_are_those_of_transformers(kind: str, changes: dict[str, Any]) -> None:
    said = {"num_hidden_layers": 5, "pad_token_id": None, **changes}
    with quiet_transformers() as transformers:
        theirs = transformers.CONFIG_MAPPING[kind](**{**SIZES, **said})
    config, _ = noted(kind, **said)
    assert config == meant(theirs, kind)
    assert len(set(config.layers)) == 2
