"""Phi 3: Llama with fused matrices, of whose heads a part may be rotated, and with one window for all layers."""

from __future__ import annotations

from collections.abc import Iterator

from exporter.config import ModelConfig
from exporter.families.family import Family, Misfit
from exporter.families.fields import COMMON, COMMON_TYPES, HEAD_DIM
from exporter.families.layer_kinds import all_or_none, all_slide
from exporter.strict_json import Json


def _share(config: ModelConfig) -> float:
    """Return a partial_rotary_factor of which transformers makes the number of rotated elements again."""
    share = config.rotated / config.head_dim
    return share if int(config.head_dim * share) == config.rotated else (config.rotated + 0.5) / config.head_dim


def _misfits(config: ModelConfig) -> Iterator[Misfit]:
    yield from all_or_none(config)
    if config.rope_scaling.type != "none":
        yield "rope_scaling", "none", config.rope_scaling.type


def _writes(config: ModelConfig) -> Json:
    return {"sliding_window": config.window or None, "partial_rotary_factor": _share(config)}


PHI3 = Family(
    "phi3",
    "Phi3ForCausalLM",
    defaults={
        **COMMON,
        "rms_norm_eps": 1e-5,
        "max_position_embeddings": 4096,
        "num_key_value_heads": None,
        "pad_token_id": 32000,
        "sliding_window": None,
    },
    types={
        **COMMON_TYPES,
        **HEAD_DIM,
        **dict.fromkeys(("num_key_value_heads", "sliding_window"), "int null"),
        **dict.fromkeys(("resid_pdrop", "embd_pdrop"), "int float"),
        "original_max_position_embeddings": "int",
    },
    without_effect="resid_pdrop embd_pdrop",
    windows=all_slide,
    rope_kinds=("default",),
    partial_rope=True,
    fused=True,
    free=("window", "layers", "rotary_dim"),
    misfits=_misfits,
    writes=_writes,
)
