"""CWM: Llama with windows in three of four layers, and llama3's RoPE where config.json says none."""

from __future__ import annotations

from exporter.config import ModelConfig
from exporter.families.family import Family
from exporter.families.fields import COMMON, COMMON_TYPES, WINDOW_TYPES
from exporter.families.layer_kinds import Windows, by_layer, optional_window, plain_ropes, written_types
from exporter.families.written_rope import flat_rope
from exporter.strict_json import Json

_ROPE: Json = {
    "rope_theta": 1000000.0,
    "factor": 16.0,
    "high_freq_factor": 4.0,
    "low_freq_factor": 1.0,
    "original_max_position_embeddings": 8192,
    "rope_type": "llama3",
}


def _windows(given: Json) -> Windows:
    """Every fourth layer has full attention, the first of all, unless layer_types says another thing."""
    return by_layer(given, optional_window(given), lambda number: number % 4 != 0, required=True)


def _rope(config: ModelConfig, scaling: Json | None) -> Json:
    # no scaling would be that default
    return flat_rope(config, scaling or {"rope_type": "default"})


CWM = Family(
    "cwm",
    "CwmForCausalLM",
    defaults={
        **COMMON,
        "rms_norm_eps": 1e-5,
        "max_position_embeddings": 131072,
        "num_key_value_heads": 8,
        "head_dim": 128,
        "mlp_bias": False,
        "sliding_window": 8192,
    },
    types={
        **COMMON_TYPES,
        **WINDOW_TYPES,
        **dict.fromkeys(("num_key_value_heads", "head_dim", "sliding_window", "pretraining_tp"), "int"),
        "mlp_bias": "bool",
        "bos_token_id": "int",
    },
    understood="mlp_bias",
    # its class gives it a default
    without_effect="eos_token_id",
    switches=lambda given, _base: {"mlp_bias": given["mlp_bias"]},
    windows=_windows,
    theta=1000000.0,
    rope_defaults=_ROPE,
    divides=True,
    free=("mlp_bias", "window", "layers"),
    misfits=plain_ropes,
    writes=lambda config: {"mlp_bias": config.mlp_bias, **written_types(config)},
    writes_rope=_rope,
)
