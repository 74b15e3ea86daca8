"""What keeps a model from a family, family by family, and the keys that each writes: exact values by hand."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from helpers.hf_configs import noted
from helpers.models import config

import exporter
from exporter.families import FAMILIES
from exporter.families.family import Misfit
from exporter.families.fields import positive, positive_or_null
from exporter.families.layer_kinds import all_slide, counted, optional_window
from exporter.number_checks import LARGEST, SMALLEST
from exporter.rope_scaling import RopeScaling

PLAIN, SLIDES = exporter.LayerKind(), exporter.LayerKind(windowed=True)
SECOND, BARE = exporter.LayerKind(rope="second"), exporter.LayerKind(rope="none")
BOTH, MIXED = exporter.LayerKind(windowed=True, rope="second"), exporter.LayerKind(experts=True)
BLIND = exporter.LayerKind(windowed=True, rope="none")
EXPERTS: dict[str, Any] = {"n_experts": 3, "n_active_experts": 2, "expert_hidden_dim": 7}
ALL_MIXED = {**EXPERTS, "layers": (MIXED, MIXED), "hidden_dim": 7}
LINEAR = RopeScaling("linear", factor=2.0)
WHOLE_YARN = RopeScaling(
    "yarn", factor=2.0, original_max_positions=16, beta_fast=32.0, beta_slow=1.0, attention_factor=1.0
)
YARN = replace(WHOLE_YARN, truncate=True)
LONG = RopeScaling("longrope", original_max_positions=64, attention_factor=1.0, short_factors=(1.0,) * 2)

AFTER_HEAD = {"norm_place": "after", "qk_norm": "head"}
AFTER_WHOLE = {"norm_place": "after", "qk_norm": "whole"}
GEMMA = {"norm_plus_one": True, "embedding_scale": 48**0.5}
GEMMA2 = {**GEMMA, "norm_place": "both", "score_scale": 8**-0.5}
GEMMA3 = {**GEMMA2, "qk_norm": "head"}
GRANITE = {"score_scale": 0.25}
LATE = {"query_scale_beta": 0.1, "query_scale_positions": 16}

FIVE: dict[str, Any] = {"n_heads": 5, "n_kv_heads": 5, "head_dim": 8}
NOT_DIVIDED = ("n_heads", "a divisor of dim = 48", "5")
NOT_FIRST = "the first RoPE in every layer"
LOCAL = "windows in the layers with the second RoPE alone"
EVERY = "experts in every layer"
WINDOW_OF_ALL = "a window in every layer or in none"
EXAONE_OUT = "no RoPE in layers without the window"
EXAONE_IN = "RoPE in windowed layers alone"
CASES: tuple[tuple[str, dict[str, Any], list[Misfit]], ...] = (
    ("llama", {}, []),
    ("llama", {"qkv_bias": True, "wo_bias": True, "mlp_bias": True}, []),
    ("llama", {"qkv_bias": True}, [("wo_bias", "true", "false")]),
    ("llama", FIVE, [NOT_DIVIDED]),
    ("qwen3", {"qk_norm": "head", **FIVE}, []),
    ("gemma2", {**GEMMA2, **FIVE}, [NOT_DIVIDED]),
    ("gemma3_text", {**GEMMA3, **FIVE}, [NOT_DIVIDED]),
    ("cwm", FIVE, [NOT_DIVIDED]),
    ("llama", {"rope_scaling": YARN}, []),
    ("phi3", {"rope_scaling": YARN}, [("rope_scaling", "none or longrope", "yarn")]),
    ("granite", {**GRANITE, "embedding_scale": 2.0, "residual_scale": 3.0, "logit_divisor": 4.0}, []),
    ("granite", {}, [("score_scale", "more than 0", "0")]),
    ("seed_oss", {"qkv_bias": True}, []),
    ("helium", {"qkv_bias": True, "mlp_bias": True}, []),
    ("helium", {"head_dim": 4}, [("head_dim", "dim / n_heads = 8", "4")]),
    ("helium", {"wo_bias": True}, [("wo_bias", "false", "true")]),
    ("ernie4_5", {"qkv_bias": True, "wo_bias": True, "mlp_bias": True}, []),
    ("ernie4_5", {"qkv_bias": True}, [("wo_bias", "true", "false"), ("mlp_bias", "true", "false")]),
    ("mistral", {"window": 4, "layers": (SLIDES, SLIDES)}, []),
    ("mistral", {"window": 4, "layers": (SLIDES, PLAIN)}, [("layers", WINDOW_OF_ALL, "none in layer 1")]),
    ("mistral", {"layers": (PLAIN, BARE)}, [("layers", NOT_FIRST, "none in layer 1")]),
    ("ministral", {"window": 4, "layers": (SLIDES, PLAIN)}, []),
    ("ministral", {"local_theta": 5.0, "layers": (SECOND, BARE)}, [
        ("local_theta", "0", "5"), ("layers", NOT_FIRST, "second in layer 0"),
    ]),
    ("ministral3", LATE, []),
    ("ministral3", {}, [("query_scale_beta", "more than 0", "0")]),
    ("ministral3", {**LATE, "rope_scaling": YARN}, []),
    ("ministral3", {**LATE, "query_scale_positions": 17, "rope_scaling": YARN}, [
        ("query_scale_positions", "original_max_positions of the RoPE scaling", "17 beside 16"),
    ]),
    ("ministral3", {**LATE, "query_scale_positions": 17, "rope_scaling": LINEAR}, []),
    ("phi3", {"window": 4, "layers": (SLIDES, SLIDES), "rotary_dim": 4}, []),
    ("phi3", {"window": 4, "layers": (PLAIN, SLIDES)}, [("layers", WINDOW_OF_ALL, "none in layer 0")]),
    ("phi3", {"head_dim": 4}, []),
    ("phi3", {"head_dim": 4, "rope_scaling": LONG}, [("head_dim", "dim / n_heads = 8", "4")]),
    ("phi3", {"rotary_dim": 4, "rope_scaling": LONG}, []),
    ("phi3", {"dim": 50, "head_dim": 8, "rotary_dim": 4, "rope_scaling": LONG}, []),
    ("smollm3", {"window": 4, "layers": (SLIDES, BARE)}, []),
    ("smollm3", {"local_theta": 5.0, "layers": (PLAIN, SECOND)}, [
        ("local_theta", "0", "5"), ("layers", "the first RoPE or none", "the second in layer 1"),
    ]),
    ("exaone4", AFTER_HEAD, []),
    ("exaone4", {**AFTER_HEAD, "window": 4, "layers": (SLIDES, BARE)}, []),
    ("exaone4", {**AFTER_HEAD, "layers": (PLAIN, BARE)}, []),
    ("exaone4", {**AFTER_HEAD, "window": 4, "layers": (SLIDES, PLAIN)}, [("layers", EXAONE_OUT, "first in layer 1")]),
    ("exaone4", {**AFTER_HEAD, "window": 4, "layers": (BLIND, SLIDES)}, [("layers", EXAONE_IN, "none in layer 0")]),
    ("exaone4", {**AFTER_HEAD, "local_theta": 5.0, "layers": (SECOND, SECOND)}, [
        ("local_theta", "0", "5"), ("layers", EXAONE_IN, "second in layer 0"),
    ]),
    ("olmo2", AFTER_WHOLE, []),
    ("olmo2", {**AFTER_WHOLE, "qkv_bias": True}, [("wo_bias", "true", "false")]),
    ("olmo3", {**AFTER_WHOLE, "window": 4, "local_theta": 5.0, "layers": (BOTH, PLAIN)}, []),
    ("olmo3", {**AFTER_WHOLE, "local_theta": 5.0, "layers": (SECOND, PLAIN)}, []),
    ("olmo3", {**AFTER_WHOLE, "window": 4, "layers": (SLIDES, PLAIN)}, [
        ("layers", LOCAL, "RoPE first and a window in layer 0"),
    ]),
    ("olmo3", {**AFTER_WHOLE, "window": 4, "local_theta": 5.0, "layers": (BOTH, SECOND)}, [
        ("layers", LOCAL, "RoPE second in layer 1"),
    ]),
    ("olmo3", {**AFTER_WHOLE, "layers": (PLAIN, BARE)}, [("layers", LOCAL, "RoPE none in layer 1")]),
    ("olmo3", {**AFTER_WHOLE, "rope_scaling": YARN}, []),
    ("olmo3", {**AFTER_WHOLE, "rope_scaling": WHOLE_YARN}, [
        ("rope_scaling", "truncate", "yarn without it"),
    ]),
    ("olmo3", {**AFTER_WHOLE, "rope_scaling": LINEAR}, []),
    ("gemma", {**GEMMA, "activation": "gelu_tanh"}, []),
    ("gemma", {**GEMMA, "activation": "gelu"}, [("activation", "gelu_tanh, which its class takes gelu for", "gelu")]),
    ("gemma", {}, [("norm_plus_one", "true", "false"), ("embedding_scale", "6.92820323", "1")]),
    ("gemma2", {**GEMMA2, "score_cap": 5.0, "logit_cap": 3.0}, []),
    ("gemma2", {**GEMMA2, "score_scale": 0.0}, [("score_scale", "1 / sqrt of an integer", "0")]),
    ("gemma2", {**GEMMA2, "score_scale": 0.3}, [("score_scale", "1 / sqrt of an integer", "0.3")]),
    ("gemma2", {**GEMMA2, "score_scale": 2.0}, [("score_scale", "1 / sqrt of an integer", "2")]),
    ("gemma2", {**GEMMA2, "score_scale": 1.0}, []),
    ("gemma2", {**GEMMA2, "layers": (BARE, PLAIN)}, [("layers", NOT_FIRST, "none in layer 0")]),
    ("gemma3_text", {**GEMMA3, "window": 4, "local_theta": 5.0, "layers": (BOTH, PLAIN)}, []),
    ("gemma3_text", {**GEMMA3, "score_scale": 0.3, "layers": (BARE, PLAIN)}, [
        ("layers", LOCAL, "RoPE none in layer 0"), ("score_scale", "1 / sqrt of an integer", "0.3"),
    ]),
    ("gemma3_text", {**GEMMA3, "rope_scaling": WHOLE_YARN}, [
        ("rope_scaling", "truncate", "yarn without it"),
    ]),
    ("qwen2", {"qkv_bias": True, "window": 4, "layers": (SLIDES, PLAIN)}, []),
    ("qwen2", {}, [("qkv_bias", "true", "false")]),
    ("qwen3", {"qk_norm": "head", "layers": (PLAIN, BARE)}, [("layers", NOT_FIRST, "none in layer 1")]),
    ("mixtral", {**ALL_MIXED, "experts_normalized": True}, []),
    ("mixtral", ALL_MIXED, [("experts_normalized", "true", "false")]),
    ("mixtral", {}, [("n_experts", "at least 2", "0")]),
    ("mixtral", {**EXPERTS, "experts_normalized": True, "layers": (MIXED, PLAIN)}, [
        ("layers", EVERY, "none in layer 1"),
    ]),
    ("qwen3_moe", {**EXPERTS, "qk_norm": "head", "layers": (MIXED, PLAIN)}, []),
    ("qwen3_moe", {"qk_norm": "head"}, [("n_experts", "at least 2", "0")]),
    ("olmoe", {**ALL_MIXED, "qk_norm": "whole"}, []),
    ("olmoe", {**ALL_MIXED, "qk_norm": "whole", "head_dim": 4}, [("head_dim", "dim / n_heads = 8", "4")]),
    ("olmoe", {**EXPERTS, "qk_norm": "whole", "layers": (PLAIN, MIXED)}, [("layers", EVERY, "none in layer 0")]),
    ("flex_olmo", {**ALL_MIXED, **AFTER_WHOLE}, []),
    ("flex_olmo", {**ALL_MIXED, **AFTER_WHOLE, "head_dim": 4}, []),
    ("flex_olmo", AFTER_WHOLE, [("n_experts", "at least 2", "0")]),
)  # fmt: skip


@pytest.mark.parametrize(("family", "changes", "misfits"), CASES)
def test_what_keeps_a_model_from_a_family(family: str, changes: dict[str, Any], misfits: list[Misfit]) -> None:
    assert list(FAMILIES[family].why_not(config(**changes))) == misfits


FULL, SLIDING = "full_attention", "sliding_attention"
IDLE = {"layer_types": [FULL, FULL], "sliding_window": 33}
HALF = {"layer_types": [SLIDING, FULL], "sliding_window": 4}
OUTPUT = {"output_router_logits": False}
ONE_SLIDES = {"window": 4, "layers": (SLIDES, PLAIN)}
ALL_SLIDE = {"window": 4, "layers": (SLIDES, SLIDES)}
SCALARS = {"final_logit_softcapping": None, "attn_logit_softcapping": None}
WRITTEN: tuple[tuple[str, dict[str, Any], dict[str, Any]], ...] = (
    ("llama", {"qkv_bias": True, "wo_bias": True}, {"attention_bias": True, "mlp_bias": False}),
    ("granite", {**GRANITE, "logit_divisor": 3}, {
        "attention_bias": False, "mlp_bias": False, "embedding_multiplier": 1.0, "attention_multiplier": 0.25,
        "residual_multiplier": 1.0, "logits_scaling": 3.0,
    }),
    ("helium", {"qkv_bias": True}, {"attention_bias": True, "mlp_bias": False}),
    ("ernie4_5", {"qkv_bias": True}, {"use_bias": True}),
    ("seed_oss", {"wo_bias": True}, {"attention_bias": False, "attention_out_bias": True, "mlp_bias": False}),
    ("mistral", {}, {"sliding_window": None}),
    ("mistral", ALL_SLIDE, {"sliding_window": 4}),
    ("ministral", {}, IDLE),
    ("ministral", ONE_SLIDES, HALF),
    ("ministral3", ALL_SLIDE, {"sliding_window": 4}),
    ("cwm", {"mlp_bias": True, **ONE_SLIDES}, {"mlp_bias": True, **HALF}),
    ("phi3", {**ALL_SLIDE, "rotary_dim": 4}, {"sliding_window": 4, "partial_rotary_factor": 0.5}),
    ("phi3", {}, {"sliding_window": None, "partial_rotary_factor": 1.0}),
    # int(44 * (30 / 44)) is 29
    ("phi3", {"head_dim": 44, "rotary_dim": 30}, {"sliding_window": None, "partial_rotary_factor": 30.5 / 44}),
    ("smollm3", {"layers": (BARE, PLAIN)}, {
        "attention_bias": False, "mlp_bias": False, "no_rope_layers": [0, 1], "use_sliding_window": False,
        "sliding_window": None,
    }),
    ("smollm3", ONE_SLIDES, {
        "attention_bias": False, "mlp_bias": False, "no_rope_layers": [1, 1], "use_sliding_window": True, **HALF,
    }),
    ("exaone4", {}, {"sliding_window": None, "layer_types": [FULL, FULL]}),
    ("exaone4", {"layers": (PLAIN, BARE)}, {"sliding_window": 33, "layer_types": [SLIDING, FULL]}),
    ("exaone4", {"layers": (SECOND, SECOND), "local_theta": 5.0}, {
        "sliding_window": None, "layer_types": [FULL, FULL],
    }),
    ("exaone4", {"window": 4, "layers": (BARE, SLIDES)}, {"sliding_window": 4, "layer_types": [FULL, SLIDING]}),
    ("olmo2", {"qkv_bias": True}, {"attention_bias": True}),
    ("olmo3", {"local_theta": 5.0, "layers": (SECOND, PLAIN)}, {
        "attention_bias": False, "layer_types": [SLIDING, FULL], "sliding_window": 33,
    }),
    ("gemma", {"qkv_bias": True}, {"attention_bias": True}),
    ("gemma2", {**GEMMA2, "logit_cap": 3}, {
        "attention_bias": False, "query_pre_attn_scalar": 8, **SCALARS, "final_logit_softcapping": 3.0, **IDLE,
    }),
    ("gemma3_text", {**GEMMA3, "score_cap": 5}, {
        "attention_bias": False, "query_pre_attn_scalar": 8, **SCALARS, "attn_logit_softcapping": 5.0, **IDLE,
    }),
    ("qwen2", {}, {"use_sliding_window": False}),
    ("qwen2", {"window": 4, "layers": (PLAIN, SLIDES)}, {
        "use_sliding_window": True, "max_window_layers": 1, "layer_types": [FULL, SLIDING], "sliding_window": 4,
    }),
    ("qwen3", {"qkv_bias": True}, {"attention_bias": True, "use_sliding_window": False}),
    ("mixtral", {**ALL_MIXED, "window": 4, "layers": (exporter.LayerKind(windowed=True, experts=True),) * 2}, {
        "sliding_window": 4, "num_local_experts": 3, "num_experts_per_tok": 2, **OUTPUT,
    }),
    ("mixtral", ALL_MIXED, {
        "sliding_window": None, "num_local_experts": 3, "num_experts_per_tok": 2, **OUTPUT,
    }),
    ("qwen3_moe", {**EXPERTS, "layers": (PLAIN, MIXED)}, {
        "attention_bias": False, "use_sliding_window": False, "sliding_window": None, "num_experts": 3,
        "num_experts_per_tok": 2, **OUTPUT, "moe_intermediate_size": 7, "norm_topk_prob": False,
        "decoder_sparse_step": 1, "mlp_only_layers": [0],
    }),
    ("olmoe", {**ALL_MIXED, "experts_normalized": True}, {
        "attention_bias": False, "num_experts": 3, "num_experts_per_tok": 2, **OUTPUT, "norm_topk_prob": True,
    }),
)  # fmt: skip


@pytest.mark.parametrize(("family", "changes", "keys"), WRITTEN)
def test_the_keys_that_a_family_writes(family: str, changes: dict[str, Any], keys: dict[str, Any]) -> None:
    assert FAMILIES[family].writes(config(**changes)) == keys


SCALED = {"rope_type": "linear", "factor": 2.0}
FLAT = {"rope_theta": 10000.0, "rope_scaling": None}
TWO = {"window": 4, "layers": (BOTH, PLAIN)}
ROPES: tuple[tuple[str, dict[str, Any], dict[str, Any] | None, dict[str, Any]], ...] = (
    ("llama", {"rope_theta": 7}, None, {"rope_theta": 7.0, "rope_scaling": None}),
    ("llama", {}, SCALED, {"rope_theta": 10000.0, "rope_scaling": SCALED}),
    ("cwm", {}, None, {"rope_theta": 10000.0, "rope_scaling": {"rope_type": "default"}}),
    ("cwm", {}, SCALED, {"rope_theta": 10000.0, "rope_scaling": SCALED}),
    ("ministral3", LATE, None, {
        "rope_theta": 10000.0,
        "rope_scaling": {"rope_type": "default", "llama_4_scaling_beta": 0.1, "original_max_position_embeddings": 16},
    }),
    ("ministral3", LATE, SCALED, {
        "rope_theta": 10000.0,
        "rope_scaling": {**SCALED, "llama_4_scaling_beta": 0.1, "original_max_position_embeddings": 16},
    }),
    ("phi3", {}, None, FLAT),
    ("phi3", {}, {"rope_type": "longrope", "original_max_position_embeddings": 9}, {
        "rope_theta": 10000.0, "rope_scaling": {"rope_type": "longrope"}, "original_max_position_embeddings": 9,
    }),
    ("gemma3_text", {}, None, FLAT),
    ("gemma3_text", {**TWO, "local_theta": 5}, None, {**FLAT, "rope_local_base_freq": 5.0}),
    ("olmo3", {}, None, FLAT),
    ("olmo3", {**TWO, "local_theta": 5e5, "rope_theta": 5e5}, SCALED, {"rope_theta": 5e5, "rope_scaling": SCALED}),
    ("olmo3", {**TWO, "local_theta": 7, "rope_theta": 5e5}, None, {"rope_parameters": {
        FULL: {"rope_type": "default", "rope_theta": 5e5}, SLIDING: {"rope_type": "default", "rope_theta": 7.0},
    }}),
    ("olmo3", {**TWO, "local_theta": 7, "rope_theta": 7}, SCALED, {"rope_parameters": {
        FULL: {**SCALED, "rope_theta": 7.0}, SLIDING: {"rope_type": "default", "rope_theta": 7.0},
    }}),
)  # fmt: skip


@pytest.mark.parametrize(("family", "changes", "scaling", "keys"), ROPES)
def test_the_keys_of_rope_that_a_family_writes(
    family: str, changes: dict[str, Any], scaling: dict[str, Any] | None, keys: dict[str, Any]
) -> None:
    written = FAMILIES[family].writes_rope(config(**changes), None if scaling is None else dict(scaling))
    assert written == keys


def test_a_number_is_positive_and_normal_as_float32() -> None:
    assert [positive("x", value) for value in (SMALLEST, LARGEST, 1)] == [SMALLEST, LARGEST, 1.0]
    assert (positive_or_null("x", None), positive_or_null("x", 2)) == (0.0, 2.0)
    for value in (SMALLEST / 2, LARGEST * 2, 0, -1):
        with pytest.raises(
            exporter.CheckpointError, match=r"^x: expected a positive finite number, normal as float32"
        ):
            positive("x", value)


FLAGS = {
    "divides": {"llama", "gemma2", "gemma3_text", "cwm"},
    "neighbours": {"helium", "ernie4_5"},
    "fused": {"phi3"},
    "partial_rope": {"phi3"},
    "query_scale": {"ministral3"},
    "longrope": {"phi3"},
}


@pytest.mark.parametrize("flag", FLAGS)
def test_which_families_alone_have_a_peculiarity(flag: str) -> None:
    assert {name for name, family in FAMILIES.items() if getattr(family, flag)} == FLAGS[flag]


def test_numbers_that_tables_alone_say() -> None:
    assert {f.original_positions for f in FAMILIES.values()} == {0, FAMILIES["phi3"].original_positions}
    assert FAMILIES["phi3"].original_positions == 4096
    assert {name: f.local_theta for name, f in FAMILIES.items() if f.local_theta} == {
        "gemma3_text": 1e4,
        "olmo3": 5e5,
    }
    assert FAMILIES["gemma3_text"].name == "Gemma3"


READ: tuple[tuple[str, dict[str, Any], str], ...] = (
    ("helium", {"head_dim": 4, "num_key_value_heads": 4}, (
        "head_dim: expected 2, as Helium's output of attention requires, found 4"
    )),
    ("mistral", {"layer_types": [FULL]}, (
        "layer_types: expected none for mistral (transformers takes a mistral with layer_types for ministral: name "
        "that as model_type), found ['full_attention']"
    )),
    ("ministral", {"head_dim": None}, (
        "head_dim: expected an integer, as transformers requires for ministral, found null"
    )),
    ("ministral", {"head_dim": 2, "sliding_window": None}, "sliding_window: expected an integer, found null"),
    *(
        (kind, {"head_dim": 2, "num_key_value_heads": 4, "sliding_window": None}, (
            "sliding_window: expected an integer, found null"
        ))
        for kind in ("olmo3", "gemma3_text")
    ),
    ("mistral", {"sliding_window": 4.5}, "sliding_window: expected an integer or null, found 4.5"),
    ("gemma3_text", {"sliding_window_pattern": "6"}, (
        "sliding_window_pattern: expected an integer other than 0, found '6'"
    )),
    ("gemma3_text", {"sliding_window_pattern": True}, (
        "sliding_window_pattern: expected an integer other than 0, found True"
    )),
    ("qwen2", {"layer_types": [FULL, SLIDING]}, (
        "layer_types: expected a sliding_window for sliding_attention, found none in use"
    )),
    ("qwen2", {"layer_types": [FULL]}, (
        "layer_types: expected full_attention or sliding_attention for each of 2 layers, found ['full_attention']"
    )),
    ("qwen2", {"layer_types": [FULL, "chunked"]}, (
        "layer_types: expected full_attention or sliding_attention for each of 2 layers, found "
        "['full_attention', 'chunked']"
    )),
    ("qwen2", {"use_sliding_window": True, "max_window_layers": 0, "num_hidden_layers": 65537}, (
        "num_hidden_layers: expected at most 65536, found 65537"
    )),
    ("exaone4", {"sliding_window": None, "head_dim": 2, "num_key_value_heads": 4}, (
        "layer_types: expected a list where sliding_window is null, as transformers requires, found none"
    )),
    ("exaone4", {"sliding_window_pattern": 0}, (
        "sliding_window_pattern: expected an integer other than 0 without layer_types, found 0"
    )),
    ("exaone4", {"sliding_window_pattern": "LLLG"}, (
        "sliding_window_pattern: expected an integer other than 0 without layer_types, found 'LLLG'"
    )),
)  # fmt: skip


@pytest.mark.parametrize(("kind", "changes", "message"), READ)
def test_a_key_that_a_family_cannot_read_is_named(kind: str, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(exporter.CheckpointError) as caught:
        noted(kind, **{"pad_token_id": None, **changes})
    assert str(caught.value).partition("config.json: ")[2] == message


LAYERS: tuple[tuple[str, dict[str, Any], str], ...] = (
    # s: slides, f: full; n: neither RoPE nor window, N: a window without RoPE
    ("qwen2", {"use_sliding_window": True, "max_window_layers": 2}, "ffsss"),
    ("cwm", {"head_dim": 2, "num_key_value_heads": 4}, "fsssf"),
    ("exaone4", {"head_dim": 2}, "sssns"),
    ("exaone4", {"head_dim": 2, "sliding_window_pattern": 2}, "snsns"),
    ("exaone4", {"head_dim": 2, "sliding_window_pattern": 1}, "nnnnn"),
    ("exaone4", {"head_dim": 2, "sliding_window": None, "layer_types": [FULL] * 5}, "fffff"),
    ("ministral", {"head_dim": 2, "num_key_value_heads": 4}, "sssss"),
    ("ministral", {"head_dim": 2, "num_key_value_heads": 4, "layer_types": ["attention", *[SLIDING] * 4]}, "fssss"),
    ("gemma2", {"head_dim": 2}, "sfsfs"),
    ("smollm3", {}, "fffnf"),
    ("smollm3", {"no_rope_layers": [0, 1, 1, 0, 1]}, "nffnf"),
    ("smollm3", {"no_rope_layers": [0, 1, 1, 0, 1], "use_sliding_window": True}, "NffNf"),
)  # fmt: skip


@pytest.mark.parametrize(("kind", "changes", "kinds"), LAYERS)
def test_the_layers_of_a_config(kind: str, changes: dict[str, Any], kinds: str) -> None:
    said = {
        "num_hidden_layers": 5,
        "pad_token_id": None,
        "sliding_window": 4,
        "max_position_embeddings": 64,
        **changes,
    }
    found, _ = noted(kind, **said)
    names = {(True, "first"): "s", (False, "first"): "f", (False, "none"): "n", (True, "none"): "N"}
    assert "".join(names[layer.windowed, layer.rope] for layer in map(found.layer, range(5))) == kinds


@pytest.mark.parametrize("window", [True, 4.5, "4"])
def test_a_window_is_an_integer_or_null(window: object) -> None:
    assert (optional_window({"sliding_window": 4}), optional_window({"sliding_window": None})) == (4, None)
    with pytest.raises(exporter.CheckpointError, match=r"^sliding_window: expected an integer or null, found "):
        optional_window({"sliding_window": window})


def test_qwen_2_has_biases_that_config_json_does_not_say() -> None:
    found, _ = noted("qwen2")
    assert (found.qkv_bias, found.wo_bias, found.mlp_bias) == (True, False, False)


def test_as_many_layers_as_a_format_holds_may_slide() -> None:
    given = {"num_hidden_layers": 1 << 16, "sliding_window": 4}
    assert (counted(given), all_slide(given).slides) == (65536, (True,) * 65536)
