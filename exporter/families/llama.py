"""Llama, and the families that differ from it by biases or by one window for all layers."""

from __future__ import annotations

from exporter.config import ModelConfig
from exporter.families.family import Family
from exporter.families.fields import COMMON, COMMON_TYPES, attention_biases, same_biases
from exporter.strict_json import Json


def _switches(given: Json, base: ModelConfig) -> Json:
    return {**attention_biases(given, base), "mlp_bias": given["mlp_bias"]}


def _writes(config: ModelConfig) -> Json:
    return {"attention_bias": config.qkv_bias, "mlp_bias": config.mlp_bias}


LLAMA = Family(
    "llama",
    "LlamaForCausalLM",
    # num_key_value_heads null: as many as heads
    defaults={
        **COMMON,
        "max_position_embeddings": 2048,
        "num_key_value_heads": None,
        "attention_bias": False,
        "mlp_bias": False,
    },
    types={
        **COMMON_TYPES,
        **dict.fromkeys(("num_key_value_heads", "head_dim", "pretraining_tp"), "int null"),
        **dict.fromkeys(("attention_bias", "mlp_bias"), "bool"),
        "attention_dropout": "int float null",
    },
    understood="attention_bias mlp_bias",
    switches=_switches,
    divides=True,
    fixed=same_biases,
    free=("qkv_bias", "mlp_bias"),
    writes=_writes,
)
