"""OLMo 2 and 3: norms after attention and feed forward, and over the whole of q and k; OLMo 3 has windows, too.

OLMoE has the latter norms alone, and FlexOlmo both; they have a mixture of experts in every layer.
"""

from __future__ import annotations

from collections.abc import Iterator

from exporter.config import ModelConfig
from exporter.errors import CheckpointError
from exporter.families.family import Family, Misfit
from exporter.families.fields import (
    COMMON,
    COMMON_TYPES,
    HEAD_DIM,
    WINDOW_TYPES,
    attention_biases,
    same_biases,
)
from exporter.families.layer_kinds import (
    Windows,
    by_layer,
    counted,
    local_ropes,
    optional_window,
    plain_ropes,
    written_types,
)
from exporter.families.mixtures import (
    EXPERT_DEFAULTS,
    EXPERT_TYPES,
    WITHOUT_EFFECT,
    Mixture,
    experts_everywhere,
    mixture,
    written_experts,
)
from exporter.families.written_rope import flat_rope, nested_rope, truncated_yarn
from exporter.huggingface_names import ExpertNames
from exporter.strict_json import Json

_SWITCHES: Json = {"norm_place": "after", "qk_norm": "whole"}
_THETA = 500000.0
_DEFAULTS: Json = {
    **COMMON,
    "rms_norm_eps": 1e-5,
    "max_position_embeddings": 2048,
    "num_key_value_heads": None,
    "pad_token_id": 1,
    "attention_bias": False,
}
_TYPES = {**COMMON_TYPES, **HEAD_DIM, "num_key_value_heads": "int null", "attention_bias": "bool"}


def _switches(given: Json, base: ModelConfig) -> Json:
    return {**attention_biases(given, base), **_SWITCHES}


def _fixed(config: ModelConfig) -> Json:
    return {**same_biases(config), **_SWITCHES}


def _windows(given: Json) -> Windows:
    """Every fourth layer has full attention, unless layer_types says another thing."""
    return by_layer(given, optional_window(given), lambda number: (number + 1) % 4 != 0, required=True)


def _olmo3_misfits(config: ModelConfig) -> Iterator[Misfit]:
    yield from local_ropes(config)
    yield from truncated_yarn(config)


def _olmo3_rope(config: ModelConfig, scaling: Json | None) -> Json:
    """Version 4 has one theta for both RoPEs, and version 5 reads its words with the default for the second."""
    same = config.local_theta == config.rope_theta == _THETA
    return flat_rope(config, scaling) if same or not config.local_theta else nested_rope(config, scaling)


OLMO2 = Family(
    "olmo2",
    "Olmo2ForCausalLM",
    defaults=_DEFAULTS,
    types=_TYPES,
    understood="attention_bias",
    switches=_switches,
    fixed=_fixed,
    free=("qkv_bias",),
    writes=lambda config: {"attention_bias": config.qkv_bias},
)

OLMO3 = Family(
    "olmo3",
    "Olmo3ForCausalLM",
    defaults={**_DEFAULTS, "sliding_window": 4096},
    types={**_TYPES, **WINDOW_TYPES},
    understood="attention_bias",
    switches=_switches,
    windows=_windows,
    theta=_THETA,
    local_theta=_THETA,
    fixed=_fixed,
    free=("qkv_bias", "window", "layers", "local_theta"),
    misfits=_olmo3_misfits,
    writes=lambda config: {"attention_bias": config.qkv_bias, **written_types(config)},
    writes_rope=_olmo3_rope,
)


def _olmoe_switches(given: Json, base: ModelConfig) -> Json:
    if base.q_dim != base.dim:
        raise CheckpointError(
            f"head_dim: expected {base.dim // base.n_heads}, which OLMoE's norm of queries requires, "
            f"found {base.head_dim}"
        )
    return {**attention_biases(given, base), "qk_norm": "whole"}


def _olmoe_mixture(given: Json) -> Mixture:
    normalized: bool = given["norm_topk_prob"]
    layers = tuple(range(counted(given)))
    return mixture(given, layers, "num_experts", "intermediate_size", normalized=normalized)


def _olmoe_misfits(config: ModelConfig) -> Iterator[Misfit]:
    yield from plain_ropes(config)
    yield from experts_everywhere(config)
    if config.q_dim != config.dim:
        yield "head_dim", f"dim / n_heads = {config.dim / config.n_heads:g}", str(config.head_dim)


def _olmoe_writes(config: ModelConfig) -> Json:
    said = written_experts(config, "num_experts")
    return {"attention_bias": config.qkv_bias, **said, "norm_topk_prob": config.experts_normalized}


OLMOE = Family(
    "olmoe",
    "OlmoeForCausalLM",
    defaults={
        **COMMON,
        **EXPERT_DEFAULTS,
        "rms_norm_eps": 1e-5,
        "max_position_embeddings": 4096,
        "num_key_value_heads": None,
        "pad_token_id": 1,
        "attention_bias": False,
        "clip_qkv": None,
        "num_experts_per_tok": 8,
        "num_experts": 64,
        "norm_topk_prob": False,
    },
    types={
        **_TYPES,
        **EXPERT_TYPES,
        "clip_qkv": "float null",
        "num_experts": "int",
        "norm_topk_prob": "bool",
    },
    understood="attention_bias num_experts num_local_experts num_experts_per_tok norm_topk_prob",
    without_effect=WITHOUT_EFFECT,
    switches=_olmoe_switches,
    mixture=_olmoe_mixture,
    expert_names=ExpertNames(),
    fixed=lambda config: {**same_biases(config), "qk_norm": "whole"},
    free=("qkv_bias", "layers", "n_experts"),
    misfits=_olmoe_misfits,
    writes=_olmoe_writes,
)


def _flex_misfits(config: ModelConfig) -> Iterator[Misfit]:
    yield from plain_ropes(config)
    yield from experts_everywhere(config)


FLEX_OLMO = Family(
    "flex_olmo",
    "FlexOlmoForCausalLM",
    defaults={
        **{key: value for key, value in OLMOE.defaults.items() if key != "clip_qkv"},
        "rms_norm_eps": 1e-6,
        "pad_token_id": 100277,
        "num_experts_per_tok": 5,
        "num_experts": 7,
    },
    types={
        **{key: words for key, words in OLMOE.types.items() if key != "clip_qkv"},
        "attention_dropout": "float null",
    },
    understood=OLMOE.understood,
    without_effect=WITHOUT_EFFECT,
    switches=_switches,
    mixture=_olmoe_mixture,
    expert_names=ExpertNames(),
    theta=_THETA,
    fixed=_fixed,
    free=OLMOE.free,
    misfits=_flex_misfits,
    writes=_olmoe_writes,
)
