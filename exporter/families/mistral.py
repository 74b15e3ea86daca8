"""Mistral, whose layers all have a window or none, Ministral, where some have it, and Ministral 3.

Ministral 3 scales queries at late positions.
"""

from __future__ import annotations

from collections.abc import Iterator

from exporter.config import ModelConfig
from exporter.errors import CheckpointError
from exporter.families.family import Family, Misfit
from exporter.families.fields import COMMON, COMMON_TYPES, WINDOW_TYPES
from exporter.families.layer_kinds import (
    Windows,
    all_or_none,
    all_slide,
    by_layer,
    optional_window,
    plain_ropes,
    written_types,
)
from exporter.families.written_rope import flat_rope
from exporter.strict_json import Json, shown


def _windows(given: Json) -> Windows:
    if "layer_types" in given:
        raise CheckpointError(
            "layer_types: expected none for mistral (transformers takes a mistral with layer_types for "
            f"ministral: name that as model_type), found {shown(given['layer_types'])}"
        )
    return all_slide(given)


def _writes(config: ModelConfig) -> Json:
    return {"sliding_window": config.window or None}


MISTRAL = Family(
    "mistral",
    "MistralForCausalLM",
    defaults={**COMMON, "max_position_embeddings": 131072, "num_key_value_heads": 8, "sliding_window": 4096},
    types={
        **COMMON_TYPES,
        "num_key_value_heads": "int",
        "head_dim": "int null",
        "sliding_window": "int null",
    },
    windows=_windows,
    free=("window", "layers"),
    misfits=all_or_none,
    writes=_writes,
)


def _by_layer(given: Json) -> Windows:
    """All layers have the window, unless layer_types says another thing."""
    return by_layer(given, optional_window(given), lambda _number: True, required=True)


def _with_head_dim(given: Json, _base: ModelConfig) -> Json:
    if given.get("head_dim") is None:
        raise CheckpointError("head_dim: expected an integer, as transformers requires for ministral, found null")
    return {}


MINISTRAL = Family(
    "ministral",
    "MinistralForCausalLM",
    defaults=MISTRAL.defaults,
    types={**MISTRAL.types, **WINDOW_TYPES},
    switches=_with_head_dim,
    windows=_by_layer,
    free=("window", "layers"),
    misfits=plain_ropes,
    writes=written_types,
)


def _ministral3_misfits(config: ModelConfig) -> Iterator[Misfit]:
    yield from all_or_none(config)
    positions, scaling = config.query_scale_positions, config.rope_scaling
    if not config.query_scale_beta:
        yield "query_scale_beta", "more than 0", "0"
    elif scaling.type in ("llama3", "yarn") and positions != scaling.original_max_positions:
        found = f"{positions} beside {scaling.original_max_positions}"
        yield "query_scale_positions", "original_max_positions of the RoPE scaling", found


# What transformers computes with where config.json says nothing of RoPE.
_MINISTRAL3_ROPE: Json = {
    "type": "yarn",
    "rope_theta": 1000000.0,
    "factor": 16.0,
    "original_max_position_embeddings": 16384,
    "beta_fast": 32.0,
    "beta_slow": 1.0,
    "mscale_all_dim": 1.0,
    "mscale": 1.0,
    "llama_4_scaling_beta": 0.1,
}


def _ministral_rope(config: ModelConfig, scaling: Json | None) -> Json:
    late = {
        "llama_4_scaling_beta": float(config.query_scale_beta),
        "original_max_position_embeddings": config.query_scale_positions,
    }
    return flat_rope(config, {**(scaling or {"rope_type": "default"}), **late})


MINISTRAL3 = Family(
    "ministral3",
    "Ministral3ForCausalLM",
    defaults={
        **COMMON,
        "rms_norm_eps": 1e-5,
        "max_position_embeddings": 262144,
        "num_key_value_heads": 8,
        "head_dim": 128,
        "sliding_window": None,
        "pad_token_id": 11,
    },
    types={**COMMON_TYPES, "num_key_value_heads": "int", "head_dim": "int", "sliding_window": "int null"},
    windows=_windows,
    rope_defaults=_MINISTRAL3_ROPE,
    query_scale=True,
    free=("window", "layers", "query_scale_beta", "query_scale_positions"),
    misfits=_ministral3_misfits,
    writes=_writes,
    writes_rope=_ministral_rope,
)
