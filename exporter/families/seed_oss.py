"""Seed-OSS: Llama with biases that config.json says for q, k and v, for o, and for the feed forward, each alone."""

from __future__ import annotations

from exporter.config import ModelConfig
from exporter.families.family import Family
from exporter.families.fields import COMMON, COMMON_TYPES
from exporter.strict_json import Json

_KEYS = {"qkv_bias": "attention_bias", "wo_bias": "attention_out_bias", "mlp_bias": "mlp_bias"}


def _switches(given: Json, _base: ModelConfig) -> Json:
    return {field: given[key] for field, key in _KEYS.items()}


def _writes(config: ModelConfig) -> Json:
    return {key: getattr(config, field) for field, key in _KEYS.items()}


SEED_OSS = Family(
    "seed_oss",
    "SeedOssForCausalLM",
    defaults={
        **COMMON,
        "max_position_embeddings": 524288,
        "num_key_value_heads": 8,
        "head_dim": 128,
        "pad_token_id": 1,
        "attention_bias": True,
        "attention_out_bias": False,
        "mlp_bias": False,
    },
    types={
        **COMMON_TYPES,
        **dict.fromkeys(("num_key_value_heads", "head_dim"), "int null"),
        **dict.fromkeys(_KEYS.values(), "bool"),
        "residual_dropout": "int float",
        "pretraining_tp": "int",
    },
    understood=" ".join(_KEYS.values()),
    without_effect="residual_dropout",
    switches=_switches,
    free=tuple(_KEYS),
    writes=_writes,
)
