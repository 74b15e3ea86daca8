"""Gemma: norms that multiply by 1 + weight, embeddings times sqrt(hidden_size).

Gemma 2 and 3 have four norms a layer, and windows.
"""

from __future__ import annotations

from collections.abc import Iterator

from exporter.config import ModelConfig
from exporter.errors import CheckpointError
from exporter.families.family import Family, Misfit
from exporter.families.fields import (
    COMMON,
    COMMON_TYPES,
    WINDOW_TYPES,
    attention_biases,
    positive,
    positive_or_null,
    same_biases,
)
from exporter.families.layer_kinds import (
    Windows,
    by_layer,
    local_ropes,
    optional_window,
    plain_ropes,
    written_types,
)
from exporter.families.written_rope import flat_rope, truncated_yarn
from exporter.strict_json import Json, shown

_NORMS: Json = {"norm_place": "both", "norm_plus_one": True}
_DEFAULTS: Json = {
    **{key: value for key, value in COMMON.items() if key != "hidden_act"},
    "hidden_activation": "gelu_pytorch_tanh",
    "num_key_value_heads": 4,
    "head_dim": 256,
    "pad_token_id": 0,
    "tie_word_embeddings": True,
    "attention_bias": False,
    "query_pre_attn_scalar": 256,
    "sliding_window": 4096,
    "use_bidirectional_attention": False,
}
_TYPES = {
    **{key: value for key, value in COMMON_TYPES.items() if key != "hidden_act"},
    **WINDOW_TYPES,
    **dict.fromkeys(("num_key_value_heads", "head_dim", "query_pre_attn_scalar"), "int"),
    **dict.fromkeys(("final_logit_softcapping", "attn_logit_softcapping"), "float null"),
    "hidden_activation": "str",
    "attention_bias": "bool",
    "attention_dropout": "int float null",
    "use_bidirectional_attention": "bool null",
}
_KEYS = "hidden_activation attention_bias query_pre_attn_scalar final_logit_softcapping"


def _switches(given: Json, base: ModelConfig) -> Json:
    return {
        **attention_biases(given, base),
        **_fixed(base),
        "wo_bias": given["attention_bias"],
        # as transformers computes both, to the last bit
        "score_scale": positive("query_pre_attn_scalar", given["query_pre_attn_scalar"]) ** -0.5,
        "logit_cap": positive_or_null("final_logit_softcapping", given["final_logit_softcapping"]),
    }


def _gemma2_switches(given: Json, base: ModelConfig) -> Json:
    cap = positive_or_null("attn_logit_softcapping", given["attn_logit_softcapping"])
    return {**_switches(given, base), "score_cap": cap}


def _fixed(config: ModelConfig) -> Json:
    return {**same_biases(config), **_NORMS, "embedding_scale": config.dim**0.5}


def _gemma2_windows(given: Json) -> Windows:
    """Every second layer has full attention, unless layer_types says another thing."""
    return by_layer(given, optional_window(given), lambda number: number % 2 == 0, required=True)


def _gemma3_windows(given: Json) -> Windows:
    """Every sixth layer has full attention, unless layer_types says another thing."""
    pattern = given["sliding_window_pattern"]
    if isinstance(pattern, bool) or not isinstance(pattern, int) or pattern == 0:
        raise CheckpointError(f"sliding_window_pattern: expected an integer other than 0, found {shown(pattern)}")
    return by_layer(given, optional_window(given), lambda number: (number + 1) % pattern != 0, required=True)


def _scalar(config: ModelConfig) -> int:
    """Return query_pre_attn_scalar, 0 where no integer gives the scale."""
    if not config.score_scale:
        return 0
    scalar = round(config.score_scale**-2)
    return scalar if scalar > 0 and float(scalar) ** -0.5 == config.score_scale else 0


def _scaled(config: ModelConfig) -> Iterator[Misfit]:
    if not _scalar(config):
        yield "score_scale", "1 / sqrt of an integer", f"{config.score_scale:.9g}"


def _gemma2_misfits(config: ModelConfig) -> Iterator[Misfit]:
    yield from plain_ropes(config)
    yield from _scaled(config)


def _gemma3_misfits(config: ModelConfig) -> Iterator[Misfit]:
    yield from local_ropes(config)
    yield from _scaled(config)
    yield from truncated_yarn(config)


def _writes(config: ModelConfig) -> Json:
    return {
        "attention_bias": config.qkv_bias,
        "query_pre_attn_scalar": _scalar(config),
        "final_logit_softcapping": float(config.logit_cap) or None,
        "attn_logit_softcapping": float(config.score_cap) or None,
        **written_types(config),
    }


def _gemma3_rope(config: ModelConfig, scaling: Json | None) -> Json:
    local = {"rope_local_base_freq": float(config.local_theta)} if config.local_theta else {}
    return {**flat_rope(config, scaling), **local}


GEMMA2 = Family(
    "gemma2",
    "Gemma2ForCausalLM",
    defaults={
        **_DEFAULTS,
        "max_position_embeddings": 8192,
        "final_logit_softcapping": 30.0,
        "attn_logit_softcapping": 50.0,
    },
    types=_TYPES,
    understood=f"{_KEYS} attn_logit_softcapping",
    switches=_gemma2_switches,
    windows=_gemma2_windows,
    divides=True,
    activation="hidden_activation",
    fixed=_fixed,
    free=("qkv_bias", "window", "layers", "score_scale", "score_cap", "logit_cap"),
    misfits=_gemma2_misfits,
    writes=_writes,
)

GEMMA3 = Family(
    "gemma3_text",
    "Gemma3ForCausalLM",
    defaults={
        **_DEFAULTS,
        "max_position_embeddings": 131072,
        "final_logit_softcapping": None,
        "attn_logit_softcapping": None,
        "sliding_window_pattern": 6,
    },
    types=_TYPES,
    understood=f"{_KEYS} sliding_window_pattern rope_local_base_freq",
    # its attention keeps the cap and never computes with it; the other is what the first of its name became
    without_effect="attn_logit_softcapping _sliding_window_pattern",
    switches=lambda given, base: {**_switches(given, base), "qk_norm": "head"},
    windows=_gemma3_windows,
    theta=1000000.0,
    local_theta=10000.0,
    local_key="rope_local_base_freq",
    divides=True,
    activation="hidden_activation",
    fixed=lambda config: {**_fixed(config), "qk_norm": "head"},
    free=("qkv_bias", "window", "layers", "score_scale", "logit_cap", "local_theta"),
    misfits=_gemma3_misfits,
    writes=_writes,
    writes_rope=_gemma3_rope,
)


def _plus_one(config: ModelConfig) -> Json:
    return {**same_biases(config), "norm_plus_one": True, "embedding_scale": config.dim**0.5}


def _gemma_switches(given: Json, base: ModelConfig) -> Json:
    # "gelu" of old files means the approximation by tanh to its class
    activation = "gelu_tanh" if base.activation == "gelu" else base.activation
    biases = attention_biases(given, base)
    return {**_plus_one(base), **biases, "activation": activation}


def _gemma_misfits(config: ModelConfig) -> Iterator[Misfit]:
    if config.activation == "gelu":
        yield "activation", "gelu_tanh, which its class takes gelu for", "gelu"


GEMMA = Family(
    "gemma",
    "GemmaForCausalLM",
    defaults={
        **COMMON,
        "hidden_act": "gelu_pytorch_tanh",
        "max_position_embeddings": 8192,
        "num_key_value_heads": 16,
        "head_dim": 256,
        "pad_token_id": 0,
        "tie_word_embeddings": True,
        "attention_bias": False,
        "use_bidirectional_attention": False,
    },
    types={
        **COMMON_TYPES,
        **dict.fromkeys(("num_key_value_heads", "head_dim"), "int"),
        "attention_bias": "bool",
        "use_bidirectional_attention": "bool null",
    },
    understood="attention_bias",
    switches=_gemma_switches,
    fixed=_plus_one,
    free=("qkv_bias",),
    misfits=_gemma_misfits,
    writes=lambda config: {"attention_bias": config.qkv_bias},
)
