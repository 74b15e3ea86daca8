"""Granite: Llama with factors for embeddings, scores and residuals, and a divisor of logits."""

from __future__ import annotations

from collections.abc import Iterator

from exporter.config import ModelConfig
from exporter.families.family import Family, Misfit
from exporter.families.fields import COMMON, COMMON_TYPES, HEAD_DIM, attention_biases, positive, same_biases
from exporter.strict_json import Json

# Keys of config.json, and the fields of ModelConfig that they are.
_MULTIPLIERS = {
    "embedding_multiplier": "embedding_scale",
    "attention_multiplier": "score_scale",
    "residual_multiplier": "residual_scale",
    "logits_scaling": "logit_divisor",
}


def _switches(given: Json, base: ModelConfig) -> Json:
    scales = {field: positive(key, given[key]) for key, field in _MULTIPLIERS.items()}
    return {**attention_biases(given, base), "mlp_bias": given["mlp_bias"], **scales}


def _misfits(config: ModelConfig) -> Iterator[Misfit]:
    if not config.score_scale:
        yield "score_scale", "more than 0", "0"


def _writes(config: ModelConfig) -> Json:
    scales = {key: float(getattr(config, field)) for key, field in _MULTIPLIERS.items()}
    return {"attention_bias": config.qkv_bias, "mlp_bias": config.mlp_bias, **scales}


GRANITE = Family(
    "granite",
    "GraniteForCausalLM",
    defaults={
        **COMMON,
        "max_position_embeddings": 2048,
        "num_key_value_heads": None,
        "attention_bias": False,
        "mlp_bias": False,
        **dict.fromkeys(_MULTIPLIERS, 1.0),
    },
    types={
        **COMMON_TYPES,
        **HEAD_DIM,
        "num_key_value_heads": "int null",
        **dict.fromkeys(("attention_bias", "mlp_bias"), "bool"),
        **dict.fromkeys(_MULTIPLIERS, "int float"),
    },
    understood=f"attention_bias mlp_bias {' '.join(_MULTIPLIERS)}",
    switches=_switches,
    fixed=same_biases,
    free=("qkv_bias", "mlp_bias", *_MULTIPLIERS.values()),
    misfits=_misfits,
    writes=_writes,
)
