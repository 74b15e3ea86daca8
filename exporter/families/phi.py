"""Phi 3: Llama with fused matrices, longrope, one window for all layers, and heads of which a part may be rotated."""

from __future__ import annotations

from collections.abc import Iterator

from exporter.config import ModelConfig
from exporter.families.family import Family, Misfit
from exporter.families.fields import COMMON, COMMON_TYPES, HEAD_DIM
from exporter.families.layer_kinds import all_or_none, all_slide
from exporter.families.written_rope import flat_rope
from exporter.strict_json import Json


def _share(config: ModelConfig) -> float:
    """Return a partial_rotary_factor of which transformers makes the number of rotated elements again."""
    share = config.rotated / config.head_dim
    return share if int(config.head_dim * share) == config.rotated else (config.rotated + 0.5) / config.head_dim


def _misfits(config: ModelConfig) -> Iterator[Misfit]:
    yield from all_or_none(config)
    # its class counts the factors by another size of heads
    if config.rope_scaling.type == "longrope" and config.dim // config.n_heads != config.head_dim:
        yield "head_dim", f"dim / n_heads = {config.dim // config.n_heads}", str(config.head_dim)


def _writes_rope(config: ModelConfig, scaling: Json | None) -> Json:
    """Put the original length outside of RoPE's parameters, where the class has a default that decides."""
    if scaling is None:
        return flat_rope(config, None)
    positions = scaling.pop("original_max_position_embeddings")
    return {**flat_rope(config, scaling), "original_max_position_embeddings": positions}


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
    rope_kinds=("default", "longrope"),
    original_positions=4096,
    partial_rope=True,
    fused=True,
    free=("window", "layers", "rotary_dim"),
    misfits=_misfits,
    writes=_writes,
    writes_rope=_writes_rope,
)
