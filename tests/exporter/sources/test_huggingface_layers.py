"""How layers differ, by itself: windows, RoPE and experts of each, from what config.json says."""

from __future__ import annotations

from typing import Any

import pytest

import exporter
from exporter.config import LayerKind, ModelConfig
from exporter.families import FAMILIES
from exporter.families.layer_kinds import Windows
from exporter.rope_scaling import RopeScaling
from exporter.sources.huggingface_layers import layers_and_ropes

NONE = Windows(None)
PLAIN = {
    **{"rope_theta": 1e4, "rope_scaling": RopeScaling(), "rotary_dim": 0, "query_scale_beta": 0.0},
    **{"query_scale_positions": 0, "local_theta": 0.0, "window": 0, "layers": ()},
}


def model(n_layers: int = 3, **changes: Any) -> ModelConfig:
    sizes: dict[str, Any] = {"dim": 48, "hidden_dim": 40, "n_heads": 6, "n_kv_heads": 3, "vocab_size": 29}
    return ModelConfig(**{**sizes, "n_layers": n_layers, "max_seq_len": 33, "tied": False, **changes})


def made(
    family: str, windows: Windows = NONE, raw: dict[str, Any] | None = None, **changes: Any
) -> tuple[dict[str, Any], list[str]]:
    config, said = model(**changes), raw or {}
    given = {**FAMILIES[family].defaults, "num_hidden_layers": config.n_layers, **said}
    return layers_and_ropes(said, given, config, FAMILIES[family], windows)


def refused(family: str, raw: dict[str, Any], **changes: Any) -> str:
    with pytest.raises(exporter.CheckpointError) as caught:
        made(family, raw=raw, **changes)
    return str(caught.value)


def kinds(*each: tuple[bool, str]) -> tuple[LayerKind, ...]:
    return tuple(LayerKind(windowed, rope) for windowed, rope in each)


def test_a_llama_says_nothing_of_its_layers() -> None:
    assert made("llama") == (PLAIN, [])
    assert made("llama", raw={"rope_theta": 5.0, "partial_rotary_factor": 0.5}) == (
        {**PLAIN, "rope_theta": 5.0},
        ["partial_rotary_factor is ignored, as transformers ignores it"],
    )


def test_sliding_layers_have_the_window() -> None:
    expected = {**PLAIN, "window": 8, "layers": kinds((True, "first"), (False, "first"), (True, "first"))}
    assert made("mistral", Windows(8, (True, False, True)))[0] == expected


def test_sliding_layers_of_gemma_3_have_a_rope_of_their_own_and_a_window_where_there_is_one() -> None:
    slides = (True, False, True)
    own: dict[str, Any] = {"rope_theta": 1e6, "local_theta": 1e4}
    assert made("gemma3_text", Windows(8, slides))[0] == {
        **PLAIN,
        **own,
        "window": 8,
        "layers": kinds((True, "second"), (False, "first"), (True, "second")),
    }
    # a window as long as the sequence hides nothing, and their RoPE stays
    assert made("gemma3_text", Windows(None, slides))[0] == {
        **PLAIN,
        **own,
        "layers": kinds((False, "second"), (False, "first"), (False, "second")),
    }
    assert made("gemma3_text", Windows(None, (False, False, False)))[0] == {
        **PLAIN,
        "rope_theta": 1e6,
        "layers": kinds(*[(False, "first")] * 3),
    }
    raw = {"rope_parameters": {"full_attention": {"truncate": True}}}
    assert made("gemma3_text", Windows(8, slides), raw)[1] == [
        "rope_parameters: full_attention: truncate is ignored, as transformers ignores it for kinds of layers"
    ]


def test_some_layers_of_smollm3_have_no_rope() -> None:
    found = made("smollm3", raw={"no_rope_layers": [1, 0, 1]})[0]
    assert found == {**PLAIN, "rope_theta": 2e6, "layers": kinds((False, "first"), (False, "none"), (False, "first"))}
    assert made("smollm3", raw={"no_rope_layers": [1, 1, 1]})[0] == {**PLAIN, "rope_theta": 2e6}


MIXTURE = {"num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 24}
EXPERTS = {"n_experts": 4, "n_active_experts": 2, "expert_hidden_dim": 24}


@pytest.mark.parametrize("normalized", [False, True])
def test_layers_with_experts_are_counted(*, normalized: bool) -> None:
    raw = {**MIXTURE, "norm_topk_prob": normalized}
    experts = {**EXPERTS, "experts_normalized": normalized}
    # where every layer has experts, hidden_dim is theirs
    every = tuple(LayerKind(experts=True) for _ in range(3))
    assert made("qwen3_moe", raw=raw)[0] == {**PLAIN, **experts, "hidden_dim": 24, "layers": every}
    some = (LayerKind(experts=True), LayerKind(), LayerKind(experts=True))
    raw["mlp_only_layers"] = [1]
    assert made("qwen3_moe", raw=raw)[0] == {**PLAIN, **experts, "hidden_dim": 40, "layers": some}
    raw["mlp_only_layers"] = [0, 1, 2]
    assert made("qwen3_moe", raw=raw)[0] == PLAIN


def test_queries_of_ministral_3_are_scaled_late() -> None:
    raw = {"rope_parameters": {"llama_4_scaling_beta": 0.25, "original_max_position_embeddings": 16}}
    assert made("ministral3", raw=raw)[0] == {**PLAIN, "query_scale_beta": 0.25, "query_scale_positions": 16}


def test_dynamic_scaling_needs_more_than_one_pair() -> None:
    raw = {"rope_scaling": {"rope_type": "dynamic", "factor": 2.0}}
    message = "head_dim: expected more than 2 for dynamic RoPE scaling, found 2"
    assert refused("llama", raw, head_dim=2) == message
    scaling = RopeScaling("dynamic", factor=2.0, original_max_positions=33)
    assert made("llama", raw=raw, head_dim=4)[0] == {**PLAIN, "rope_scaling": scaling}
    assert made("llama", raw={"rope_scaling": {"rope_type": "linear", "factor": 2.0}}, head_dim=2)


def test_factors_of_longrope_are_those_of_heads_of_hidden_size() -> None:
    raw = {
        "rope_scaling": {"type": "longrope", "short_factor": [1.0] * 4, "long_factor": [1.0] * 4},
        "original_max_position_embeddings": 33,
    }
    scaling = RopeScaling("longrope", original_max_positions=33, attention_factor=1.0, short_factors=(1.0,) * 4)
    assert made("phi3", raw=raw)[0] == {**PLAIN, "rope_scaling": scaling, "rotary_dim": 8}
    raw["partial_rotary_factor"] = 0.5
    assert refused("phi3", raw, head_dim=16) == (
        "head_dim: expected hidden_size / num_attention_heads = 8, by which transformers counts the factors of "
        "longrope, found 16"
    )
    assert made("phi3", raw={"partial_rotary_factor": 0.5}, head_dim=16)[0] == {**PLAIN, "rotary_dim": 8}
