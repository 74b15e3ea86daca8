"""Helium and ERNIE 4.5, whose RoPE turns neighbours of a head against each other, as llama2.c's does."""

from __future__ import annotations

from collections.abc import Iterator

from exporter.config import ModelConfig
from exporter.errors import CheckpointError
from exporter.families.family import Family, Misfit
from exporter.families.fields import COMMON, COMMON_TYPES
from exporter.strict_json import Json


def _helium_switches(given: Json, base: ModelConfig) -> Json:
    if base.q_dim != base.dim:
        raise CheckpointError(
            f"head_dim: expected {base.dim // base.n_heads}, as Helium's output of attention requires, "
            f"found {base.head_dim}"
        )
    return {"qkv_bias": given["attention_bias"], "mlp_bias": given["mlp_bias"]}


def _helium_misfits(config: ModelConfig) -> Iterator[Misfit]:
    if config.q_dim != config.dim:
        yield "head_dim", f"dim / n_heads = {config.dim / config.n_heads:g}", str(config.head_dim)


HELIUM = Family(
    "helium",
    "HeliumForCausalLM",
    defaults={
        **COMMON,
        "rms_norm_eps": 1e-8,
        "max_position_embeddings": 4096,
        "num_key_value_heads": 20,
        "head_dim": 128,
        "pad_token_id": 3,
        "attention_bias": False,
        "mlp_bias": False,
    },
    types={
        **COMMON_TYPES,
        **dict.fromkeys(("num_key_value_heads", "head_dim"), "int"),
        **dict.fromkeys(("attention_bias", "mlp_bias"), "bool"),
    },
    understood="attention_bias mlp_bias",
    switches=_helium_switches,
    theta=100000.0,
    neighbours=True,
    free=("qkv_bias", "mlp_bias"),
    misfits=_helium_misfits,
    writes=lambda config: {"attention_bias": config.qkv_bias, "mlp_bias": config.mlp_bias},
)


def _everywhere(biased: bool) -> Json:
    return dict.fromkeys(("qkv_bias", "wo_bias", "mlp_bias"), biased)


ERNIE4_5 = Family(
    "ernie4_5",
    "Ernie4_5ForCausalLM",
    defaults={
        **COMMON,
        "rms_norm_eps": 1e-5,
        "max_position_embeddings": 131072,
        "num_key_value_heads": 2,
        "head_dim": 128,
        "pad_token_id": 0,
        "tie_word_embeddings": True,
        "use_bias": False,
    },
    types={
        **COMMON_TYPES,
        **dict.fromkeys(("num_key_value_heads", "head_dim"), "int null"),
        **dict.fromkeys(("use_bias", "use_cache"), "bool null"),
    },
    understood="use_bias",
    switches=lambda given, _base: _everywhere(bool(given["use_bias"])),
    theta=500000.0,
    neighbours=True,
    fixed=lambda config: _everywhere(config.qkv_bias),
    free=("qkv_bias",),
    writes=lambda config: {"use_bias": config.qkv_bias},
)
