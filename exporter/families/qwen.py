"""Qwen 2, with biases of q, k and v alone, and Qwen 3, with a norm in each head of q and k; both may have windows."""

from __future__ import annotations

from exporter.config import ModelConfig
from exporter.families.family import Family
from exporter.families.fields import (
    COMMON,
    COMMON_TYPES,
    HEAD_DIM,
    WINDOW_TYPES,
    attention_biases,
    same_biases,
)
from exporter.families.layer_kinds import Windows, by_layer, optional_window, plain_ropes, written_types
from exporter.strict_json import Json

_DEFAULTS: Json = {
    **COMMON,
    "max_position_embeddings": 32768,
    "num_key_value_heads": 32,
    "use_sliding_window": False,
    "sliding_window": 4096,
    "max_window_layers": 28,
}
_TYPES = {
    **COMMON_TYPES,
    **WINDOW_TYPES,
    **HEAD_DIM,
    "num_key_value_heads": "int null",
    "use_sliding_window": "bool",
    "max_window_layers": "int",
}


def _windows(given: Json) -> Windows:
    """Layers have full attention up to max_window_layers, unless layer_types says another thing."""
    window = optional_window(given) if given["use_sliding_window"] else None
    return by_layer(given, window, lambda number: number >= given["max_window_layers"])


def _writes(config: ModelConfig) -> Json:
    if not config.window:
        return {"use_sliding_window": False}
    windowed = [config.layer(number).windowed for number in range(config.n_layers)]
    # for versions of transformers without layer_types, where it can say the same
    return {"use_sliding_window": True, "max_window_layers": windowed.index(True), **written_types(config)}


def _qwen3_writes(config: ModelConfig) -> Json:
    return {"attention_bias": config.qkv_bias, **_writes(config)}


QWEN2 = Family(
    "qwen2",
    "Qwen2ForCausalLM",
    defaults=_DEFAULTS,
    types=_TYPES,
    understood="use_sliding_window max_window_layers",
    switches=lambda _given, _base: {"qkv_bias": True},
    windows=_windows,
    fixed=lambda _config: {"qkv_bias": True},
    free=("window", "layers"),
    misfits=plain_ropes,
    writes=_writes,
)

QWEN3 = Family(
    "qwen3",
    "Qwen3ForCausalLM",
    defaults={**_DEFAULTS, "head_dim": 128, "attention_bias": False},
    types={**_TYPES, "attention_bias": "bool"},
    understood="attention_bias use_sliding_window max_window_layers",
    switches=lambda given, base: {**attention_biases(given, base), "qk_norm": "head"},
    windows=_windows,
    fixed=lambda config: {**same_biases(config), "qk_norm": "head"},
    free=("qkv_bias", "window", "layers"),
    misfits=plain_ropes,
    writes=_qwen3_writes,
)
