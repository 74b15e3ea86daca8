"""What each family's config object means beside a Llama's, value by value. Quick: the objects are made by hand."""

from __future__ import annotations

import math
from types import SimpleNamespace
from typing import Any

import pytest

from verify.checks.directory.switches import NEIGHBOURS, activation_of, biases, experts, rope_of, switches
from verify.sources import LayerKind

PLAIN, EXPERTS = LayerKind(), LayerKind(experts=True)
SLIDING, FULL = "sliding_attention", "full_attention"


def said(kind: str, **keys: Any) -> Any:
    sizes = {"num_hidden_layers": 3, "hidden_size": 48, "intermediate_size": 40, "max_position_embeddings": 64}
    return SimpleNamespace(model_type=kind, **{**sizes, "rope_parameters": {}, **keys})


def meant(kind: str, head_dim: int = 16, **keys: Any) -> dict[str, Any]:
    return switches(said(kind, **keys), head_dim)


LLAMA = {"window": 0, "local_theta": 0.0, "layers": (PLAIN,) * 3}
GEMMA_2 = {
    **{"query_pre_attn_scalar": 25, "final_logit_softcapping": 30.0, "attn_logit_softcapping": 50.0},
    "layer_types": [SLIDING, FULL, SLIDING],
}
OF_GEMMA_2 = {
    **{"norm_place": "both", "norm_plus_one": True, "embedding_scale": math.sqrt(48), "score_scale": 0.2},
    **{"logit_cap": 30.0, **LLAMA},
}
GRANITE = {
    **{"embedding_multiplier": 12, "attention_multiplier": 0.25, "residual_multiplier": 0.5, "logits_scaling": 8},
}
MINISTRAL_3 = {"rope_parameters": {"llama_4_scaling_beta": 0.1, "original_max_position_embeddings": 32}}
QWEN3_MOE = {
    **{"decoder_sparse_step": 1, "mlp_only_layers": [], "num_local_experts": 9, "num_experts_per_tok": 2},
    **{"moe_intermediate_size": 11, "norm_topk_prob": True},
}


@pytest.mark.parametrize(
    ("kind", "keys", "expected"),
    [
        ("llama", {}, LLAMA),
        ("qwen3", {}, {**LLAMA, "qk_norm": "head"}),
        ("gemma", {}, {**LLAMA, "norm_plus_one": True, "embedding_scale": math.sqrt(48)}),
        ("gemma2", GEMMA_2 | {"layer_types": [FULL] * 3}, {**OF_GEMMA_2, "score_cap": 50.0}),
        (
            "gemma2",
            GEMMA_2 | {"layer_types": [FULL] * 3, "final_logit_softcapping": None, "attn_logit_softcapping": None},
            {**OF_GEMMA_2, "logit_cap": 0.0, "score_cap": 0.0},
        ),
        ("gemma3_text", GEMMA_2 | {"layer_types": [FULL] * 3}, {**OF_GEMMA_2, "qk_norm": "head"}),
        ("olmo2", {}, {**LLAMA, "norm_place": "after", "qk_norm": "whole"}),
        ("olmo3", {"layer_types": [FULL] * 3}, {**LLAMA, "norm_place": "after", "qk_norm": "whole"}),
        (
            "granite",
            GRANITE,
            {**LLAMA, "embedding_scale": 12.0, "score_scale": 0.25, "residual_scale": 0.5, "logit_divisor": 8.0},
        ),
        ("ministral3", MINISTRAL_3, {**LLAMA, "query_scale_beta": 0.1, "query_scale_positions": 32}),
        ("ministral3", {"rope_parameters": {}}, LLAMA),
        ("mistral", MINISTRAL_3, LLAMA),
        ("phi3", {}, {**LLAMA, "rotary_dim": 16}),
        ("phi3", {"rope_parameters": {"partial_rotary_factor": 0.7}}, {**LLAMA, "rotary_dim": 11}),
        ("llama", {"rope_parameters": {"partial_rotary_factor": 0.5}}, LLAMA),
        ("mixtral", {}, {**LLAMA, "layers": (EXPERTS,) * 3}),
        ("olmoe", {}, {**LLAMA, "qk_norm": "whole", "layers": (EXPERTS,) * 3}),
        ("flex_olmo", {}, {**LLAMA, "norm_place": "after", "qk_norm": "whole", "layers": (EXPERTS,) * 3}),
        ("qwen3_moe", QWEN3_MOE, {**LLAMA, "qk_norm": "head", "layers": (EXPERTS,) * 3}),
    ],
)
def test_each_family_s_switches(kind: str, keys: dict[str, Any], expected: dict[str, Any]) -> None:
    assert meant(kind, **keys) == expected


@pytest.mark.parametrize(
    ("step", "dense", "sparse"),
    [
        (1, [], [True, True, True]),
        (2, [], [False, True, False]),
        (3, [], [False, False, True]),
        (1, [0, 2], [False, True, False]),
        (2, [1], [False, False, False]),
    ],
)
def test_which_layers_of_qwen3_moe_have_experts(step: int, dense: list[int], sparse: list[bool]) -> None:
    keys = {**QWEN3_MOE, "decoder_sparse_step": step, "mlp_only_layers": dense}
    assert meant("qwen3_moe", **keys)["layers"] == tuple(EXPERTS if one else PLAIN for one in sparse)
    expected = {"n_experts": 9, "n_active_experts": 2, "expert_hidden_dim": 11, "experts_normalized": True}
    all_sparse = {"hidden_dim": 11} if all(sparse) else {}
    assert experts(said("qwen3_moe", **keys)) == (expected | all_sparse if any(sparse) else {})


@pytest.mark.parametrize(
    ("kind", "normalized", "expected"),
    [
        ("mixtral", None, (7, True)),
        ("olmoe", True, (5, True)),
        ("olmoe", False, (5, False)),
        ("flex_olmo", True, (7, True)),
        ("flex_olmo", False, (7, False)),
    ],
)
def test_experts_of_each_family(kind: str, normalized: bool | None, expected: tuple[int, bool]) -> None:
    number = {"num_experts": 5} if kind == "olmoe" else {"num_local_experts": 7}
    keys = {} if normalized is None else {"norm_topk_prob": normalized}
    assert experts(said(kind, num_experts_per_tok=2, **number, **keys)) == {
        "n_experts": expected[0],
        "n_active_experts": 2,
        "expert_hidden_dim": 40,
        "experts_normalized": expected[1],
        "hidden_dim": 40,
    }


def test_a_model_without_experts_says_nothing_of_them() -> None:
    assert experts(said("llama")) == {}


# ---- layers ----


@pytest.mark.parametrize(
    ("kind", "keys", "window", "windowed"),
    [
        ("mistral", {"sliding_window": 63}, 63, [True] * 3),
        ("mistral", {"sliding_window": 64}, 0, [False] * 3),
        ("mistral", {"sliding_window": 65}, 0, [False] * 3),
        ("mistral", {"sliding_window": None}, 0, [False] * 3),
        # these families have windows in all layers, whatever else is said
        ("mistral", {"sliding_window": 8, "layer_types": [FULL] * 3}, 8, [True] * 3),
        ("ministral", {"sliding_window": 8, "layer_types": [FULL, SLIDING, FULL]}, 8, [False, True, False]),
        ("ministral", {"sliding_window": 8, "layer_types": [FULL] * 3}, 0, [False] * 3),
        ("ministral", {"sliding_window": 64, "layer_types": [FULL, SLIDING, FULL]}, 0, [False] * 3),
        ("ministral", {"sliding_window": None, "layer_types": [FULL, SLIDING, FULL]}, 0, [False] * 3),
    ],
)
def test_windows_are_those_that_hide_something(
    kind: str, keys: dict[str, Any], window: int, windowed: list[bool]
) -> None:
    found = meant(kind, **keys)
    assert (found["window"], [layer.windowed for layer in found["layers"]]) == (window, windowed)
    assert {layer.rope for layer in found["layers"]} == {"first"}


def ropes(found: dict[str, Any]) -> list[str]:
    return [layer.rope for layer in found["layers"]]


def test_sliding_layers_of_a_gemma_3_have_a_rope_of_their_own() -> None:
    rope = {FULL: {"rope_theta": 1e6}, SLIDING: {"rope_theta": 5000}}
    keys = GEMMA_2 | {"sliding_window": 8, "layer_types": [SLIDING, FULL, SLIDING]}
    found = meant("gemma3_text", **keys, rope_parameters=rope)
    assert (found["local_theta"], ropes(found)) == (5000.0, ["second", "first", "second"])
    # a window that hides nothing has its RoPE all the same
    wide = meant("gemma3_text", **keys | {"sliding_window": 64}, rope_parameters=rope)
    assert (wide["local_theta"], wide["window"], ropes(wide)) == (5000.0, 0, ["second", "first", "second"])
    full = meant("gemma3_text", **keys | {"layer_types": [FULL] * 3}, rope_parameters=rope)
    assert (full["local_theta"], ropes(full)) == (0.0, ["first"] * 3)
    for one in ({"rope_theta": 1e6}, None, {SLIDING: None}):
        found = meant("gemma3_text", **keys, rope_parameters=one)
        assert (found["local_theta"], ropes(found)) == (0.0, ["first"] * 3)


def test_layers_without_rope() -> None:
    assert ropes(meant("smollm3", no_rope_layers=[1, 0, 1])) == ["first", "none", "first"]
    keys = {"layer_types": [SLIDING, SLIDING, FULL]}
    assert ropes(meant("exaone4", **keys, sliding_window=8)) == ["first", "first", "none"]
    assert ropes(meant("exaone4", **keys, sliding_window=None)) == ["first"] * 3
    assert ropes(meant("cwm", **keys, sliding_window=8)) == ["first"] * 3


def test_more_kinds_than_layers_are_not_layers() -> None:
    """transformers keeps the list of a config whose number of layers was lowered."""
    found = meant("smollm3", no_rope_layers=[1, 0, 1, 1])
    assert ropes(found) == ["first", "none", "first"]


# ---- keys ----


def test_rope_is_that_of_full_attention_with_the_one_key_beside_both() -> None:
    assert rope_of(SimpleNamespace()) == rope_of(said("llama", rope_parameters=[1])) == {}
    one = {"rope_theta": 1e4, "truncate": False}
    assert rope_of(said("llama", rope_parameters=one)) == one
    two = {FULL: {"rope_theta": 1e6, "factor": 2.0, "truncate": True}, SLIDING: {"rope_theta": 1e4}}
    assert rope_of(said("olmo3", rope_parameters=two)) == {"rope_theta": 1e6, "factor": 2.0}
    both = two | {"truncate": False}
    assert rope_of(said("olmo3", rope_parameters=both)) == {"rope_theta": 1e6, "factor": 2.0, "truncate": False}


@pytest.mark.parametrize(
    ("kind", "keys", "expected"),
    [
        ("llama", {"attention_bias": True, "mlp_bias": False}, (True, True, False)),
        ("granite", {"attention_bias": False, "mlp_bias": True}, (False, False, True)),
        ("helium", {"attention_bias": True, "mlp_bias": True}, (True, False, True)),
        ("qwen3", {"attention_bias": True, "mlp_bias": True}, (True, True, False)),
        ("qwen2", {"attention_bias": False}, (True, False, False)),
        *((kind, {"attention_bias": True}, (False, False, False)) for kind in ("mistral", "phi3", "mixtral")),
        ("cwm", {"attention_bias": True, "mlp_bias": True}, (False, False, True)),
        ("seed_oss", {"attention_bias": True, "attention_out_bias": False, "mlp_bias": True}, (True, False, True)),
        ("seed_oss", {"attention_bias": False, "attention_out_bias": True, "mlp_bias": False}, (False, True, False)),
        ("ernie4_5", {"use_bias": True}, (True, True, True)),
        ("ernie4_5", {"use_bias": False}, (False, False, False)),
    ],
)
def test_biases_of_each_family(kind: str, keys: dict[str, Any], expected: tuple[bool, bool, bool]) -> None:
    assert biases(said(kind, **keys)) == dict(zip(("qkv_bias", "wo_bias", "mlp_bias"), expected, strict=True))


def test_the_gemmas_have_another_key_for_the_activation() -> None:
    for kind in ("gemma2", "gemma3_text"):
        assert activation_of(said(kind, hidden_activation="gelu_pytorch_tanh", hidden_act="silu")) == (
            "gelu_pytorch_tanh"
        )
    assert activation_of(said("gemma", hidden_activation="gelu", hidden_act="silu")) == "silu"
    assert NEIGHBOURS == ("helium", "ernie4_5")
