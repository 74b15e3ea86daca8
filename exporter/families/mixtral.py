"""Mixtral: Mistral with a mixture of experts in every layer, whose shares always sum to 1."""

from __future__ import annotations

from collections.abc import Iterator

from exporter.config import ModelConfig
from exporter.families.family import Family, Misfit
from exporter.families.fields import COMMON, COMMON_TYPES
from exporter.families.layer_kinds import all_or_none, all_slide, counted
from exporter.families.mixtures import (
    EXPERT_DEFAULTS,
    EXPERT_TYPES,
    WITHOUT_EFFECT,
    Mixture,
    experts_everywhere,
    mixture,
    written_experts,
)
from exporter.huggingface_names import ExpertNames
from exporter.strict_json import Json

_COUNT = "num_local_experts"


def _mixture(given: Json) -> Mixture:
    return mixture(given, tuple(range(counted(given))), _COUNT, "intermediate_size", normalized=True)


def _misfits(config: ModelConfig) -> Iterator[Misfit]:
    yield from all_or_none(config)
    yield from experts_everywhere(config)
    if config.n_experts and not config.experts_normalized:
        yield "experts_normalized", "true", "false"


MIXTRAL = Family(
    "mixtral",
    "MixtralForCausalLM",
    defaults={
        **COMMON,
        **EXPERT_DEFAULTS,
        "rms_norm_eps": 1e-5,
        "max_position_embeddings": 131072,
        "num_key_value_heads": 8,
        "sliding_window": None,
        "num_experts_per_tok": 2,
        _COUNT: 8,
    },
    types={
        **COMMON_TYPES,
        **EXPERT_TYPES,
        "num_key_value_heads": "int",
        "head_dim": "int null",
        "sliding_window": "int null",
        "router_jitter_noise": "float",
        _COUNT: "int",
    },
    understood="num_experts num_local_experts num_experts_per_tok",
    # noise of training
    without_effect=f"{WITHOUT_EFFECT} router_jitter_noise",
    windows=all_slide,
    mixture=_mixture,
    expert_names=ExpertNames("block_sparse_moe.gate", "block_sparse_moe.experts", "w1", "w2", "w3"),
    theta=1000000.0,
    free=("window", "layers", "n_experts"),
    misfits=_misfits,
    writes=lambda config: {"sliding_window": config.window or None, **written_experts(config, _COUNT)},
)
