"""Which family a directory becomes: the source's own, or the first whose class computes the model."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from helpers.hf_exports import TORCH, YARN, typed
from helpers.models import checkpoint, config
from safetensors import safe_open

import exporter
from exporter.config import tensor_shapes
from exporter.families import FAMILIES, family_that_computes
from exporter.formats.huggingface_config import config_json

PLAIN, WINDOWED = exporter.LayerKind(), exporter.LayerKind(windowed=True)
UNROTATED, SECOND = exporter.LayerKind(rope="none"), exporter.LayerKind(rope="second")
GEMMA: dict[str, Any] = {"norm_place": "both", "norm_plus_one": True, "embedding_scale": 48**0.5}
OLMO: dict[str, Any] = {"norm_place": "after", "qk_norm": "whole"}
LOCAL: dict[str, Any] = {"local_theta": 9.0, "window": 5, "layers": (PLAIN, exporter.LayerKind(True, "second"))}
WINDOWS: dict[str, Any] = {"window": 5, "layers": (PLAIN, WINDOWED)}


@pytest.mark.parametrize(
    ("changes", "family"),
    [
        ({}, "llama"),
        ({"qkv_bias": True}, "qwen2"),
        ({"window": 5, "layers": (WINDOWED, WINDOWED)}, "mistral"),
        ({**WINDOWS, "qkv_bias": True}, "qwen2"),
        (WINDOWS, "smollm3"),
        ({"layers": (UNROTATED, PLAIN), "qkv_bias": True, "wo_bias": True, "mlp_bias": True}, "smollm3"),
        ({"qk_norm": "head"}, "qwen3"),
        ({"qk_norm": "head", **WINDOWS}, "qwen3"),
        ({"score_scale": 0.3}, "granite"),
        ({**GEMMA, "score_scale": 0.25}, "gemma2"),
        ({**GEMMA, "score_scale": 144**-0.5, "score_cap": 5.0, "logit_cap": 3.0, **WINDOWS}, "gemma2"),
        ({**GEMMA, "score_scale": 0.25, "qk_norm": "head", **LOCAL}, "gemma3_text"),
        ({**GEMMA, "score_scale": 0.25, "qk_norm": "head"}, "gemma3_text"),
        (OLMO, "olmo2"),
        ({**OLMO, **LOCAL}, "olmo3"),
        ({**OLMO, "local_theta": 9.0, "layers": (SECOND, PLAIN)}, "olmo3"),
        ({"rotary_dim": 6}, "phi3"),
        ({"query_scale_beta": 0.1, "query_scale_positions": 4}, "ministral3"),
        ({"n_heads": 5, "n_kv_heads": 5, "head_dim": 8}, "mistral"),
        ({"wo_bias": True}, "seed_oss"),
        ({"qkv_bias": True, "mlp_bias": True}, "seed_oss"),
        ({"norm_plus_one": True, "embedding_scale": 48**0.5}, "gemma"),
        ({"norm_place": "after", "qk_norm": "head"}, "exaone4"),
        ({"norm_place": "after", "qk_norm": "head", "window": 5, "layers": (UNROTATED, WINDOWED)}, "exaone4"),
        ({"norm_place": "after", "qk_norm": "head", "layers": (UNROTATED, PLAIN)}, "exaone4"),
    ],
)
def test_a_model_becomes_the_first_family_whose_class_computes_it(changes: dict[str, Any], family: str) -> None:
    model = config(**changes)
    assert family_that_computes(model).model_type == family
    said = config_json(model, "fp32", {})
    assert said["model_type"] == family
    assert said["architectures"] == [FAMILIES[family].architecture]


@pytest.mark.parametrize("family", ["llama", "mistral", "smollm3", "phi3"])
def test_the_family_of_the_source_is_kept_where_its_class_computes_the_model(family: str) -> None:
    assert family_that_computes(config(), family).model_type == family
    assert family_that_computes(config(rotary_dim=4), family).model_type == "phi3"


LLAMA3 = exporter.RopeScaling("llama3", 8.0, 16, low_freq_factor=1.0, high_freq_factor=4.0)
AS = "the nearest of the families that this project knows"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"score_cap": 50.0},
            f"score_cap: expected 0, as transformers' Llama has it, {AS}, found 50; use v3",
        ),
        (
            {"qk_norm": "head", "rotary_dim": 4},
            f"rotary_dim: expected 0, as transformers' Qwen3 has it, {AS}, found 4; use v3",
        ),
        (
            {"local_theta": 5.0, "layers": (SECOND, PLAIN)},
            f"local_theta: expected 0, as transformers' Llama has it, {AS}, found 5; use v3",
        ),
        (
            {**GEMMA, "score_scale": 0.3},
            f"score_scale: expected 1 / sqrt of an integer, as transformers' Gemma2 has it, {AS}, found 0.3; use v3",
        ),
        (
            {"norm_place": "after"},
            f"norm_place: expected before, as transformers' Llama has it, {AS}, found after; use v3",
        ),
        (
            {"residual_scale": 0.5},
            f"residual_scale: expected 1, as transformers' Llama has it, {AS}, found 0.5; use v3",
        ),
        (
            {"qk_norm": "head", "layers": (UNROTATED, PLAIN)},
            f"layers: expected the first RoPE in every layer, as transformers' Qwen3 has it, {AS}, "
            "found none in layer 0; use v3",
        ),
        (
            {**OLMO, "local_theta": 9.0, "window": 5, "layers": (SECOND, WINDOWED)},
            "layers: expected windows in the layers with the second RoPE alone, as transformers' Olmo3 has it, "
            f"{AS}, found RoPE second in layer 0; use v3",
        ),
        (
            {"rotary_dim": 4, "rope_scaling": exporter.RopeScaling("linear", 2.0)},
            f"rotary_dim: expected 0, as transformers' Llama has it, {AS}, found 4; use v3",
        ),
        (
            {"query_scale_beta": 0.1, "query_scale_positions": 4, "rope_scaling": LLAMA3, "qk_norm": "head"},
            f"query_scale_beta: expected 0, as transformers' Qwen3 has it, {AS}, found 0.1; use v3",
        ),
        (
            {**OLMO, **LOCAL, "rope_scaling": YARN},
            f"rope_scaling: expected truncate, as transformers' Olmo3 has it, {AS}, found yarn without it; use v3",
        ),
    ],
)
def test_a_switch_that_no_family_has_is_refused_by_name(
    tmp_path: Path, changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(exporter.FormatError) as caught:
        exporter.export(checkpoint(config(**changes)), tmp_path / "out", format="hf")
    assert str(caught.value) == message
    assert not list(tmp_path.iterdir())


def test_the_scale_of_late_queries_shares_a_key_with_the_scaling() -> None:
    def why_not(positions: int) -> list[tuple[str, str, str]]:
        model = config(query_scale_beta=0.1, query_scale_positions=positions, rope_scaling=LLAMA3)
        return list(FAMILIES["ministral3"].why_not(model))

    assert why_not(16) == []
    field = ("query_scale_positions", "original_max_positions of the RoPE scaling", "4 beside 16")
    assert why_not(4) == [field]


def test_a_window_that_hides_nothing_is_not_written() -> None:
    said = config_json(config(**OLMO, local_theta=9.0, layers=(SECOND, PLAIN)), "fp32", {})
    assert (said["layer_types"], said["sliding_window"]) == (["sliding_attention", "full_attention"], 33)
    assert said["rope_parameters"] == {
        "full_attention": {"rope_type": "default", "rope_theta": 10000.0},
        "sliding_attention": {"rope_type": "default", "rope_theta": 9.0},
    }
    assert "rope_theta" not in said


@pytest.mark.parametrize("same", [True, False])
def test_a_fused_matrix_has_the_type_of_its_parts_or_float32(tmp_path: Path, *, same: bool) -> None:
    model = config(rotary_dim=4)
    dtypes: dict[str, Any] = {name: "bf16" for name, shape in tensor_shapes(model).items() if len(shape) == 2}
    if not same:
        dtypes["layers.1.attention.wk.weight"] = "fp16"
    summary = exporter.export(typed(model, dtypes), tmp_path / "out", format="hf")
    assert [tensor.name for tensor in summary.tensors] == list(tensor_shapes(model))
    with safe_open(tmp_path / "out" / "model.safetensors", "pt") as file:
        qkv = file.get_tensor("model.layers.1.self_attn.qkv_proj.weight")
        assert qkv.shape == (48 + 2 * 24, 48)
        assert qkv.dtype == (TORCH["bf16"] if same else TORCH["fp32"])
        assert file.get_tensor("model.layers.0.self_attn.qkv_proj.weight").dtype == TORCH["bf16"]
        assert file.get_tensor("model.layers.0.mlp.gate_up_proj.weight").shape == (80, 48)
