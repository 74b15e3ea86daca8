"""SmolLM 3: Llama with layers that have no RoPE, and with windows in those where they are set."""

from __future__ import annotations

from collections.abc import Iterator

from exporter.config import ModelConfig
from exporter.errors import CheckpointError
from exporter.families.family import Family, Misfit
from exporter.families.fields import (
    COMMON,
    COMMON_TYPES,
    HEAD_DIM,
    WINDOW_TYPES,
    attention_biases,
    same_biases,
)
from exporter.families.layer_kinds import SLIDING, Windows, by_layer, counted, optional_window, written_types
from exporter.strict_json import Json, shown


def _unrotated(given: Json) -> tuple[int, ...]:
    """Return the layers without RoPE: those with 0 in no_rope_layers, or else every no_rope_layer_interval-th."""
    layers, interval, listed = counted(given), given["no_rope_layer_interval"], given["no_rope_layers"]
    if listed is None:
        if interval == 0:
            raise CheckpointError("no_rope_layer_interval: expected another number than 0, found 0")
        return tuple(number for number in range(layers) if (number + 1) % interval == 0)
    if len(listed) < layers:
        raise CheckpointError(
            f"no_rope_layers: expected 0 or 1 for each of {layers} layers, found {len(listed)} of them"
        )
    return tuple(number for number in range(layers) if not listed[number])


def _windows(given: Json) -> Windows:
    """Layers without RoPE slide, unless layer_types says another thing."""
    types = given.get("layer_types")
    if not given["use_sliding_window"] and isinstance(types, list) and SLIDING in types:
        raise CheckpointError(
            "layer_types: expected full_attention alone where use_sliding_window is false (transformers' ways to "
            f"compute attention differ then), found {shown(types)}"
        )
    window = optional_window(given) if given["use_sliding_window"] else None
    unrotated = set(_unrotated(given))
    return by_layer(given, window, lambda number: number in unrotated)


def _switches(given: Json, base: ModelConfig) -> Json:
    return {**attention_biases(given, base), "mlp_bias": given["mlp_bias"]}


def _misfits(config: ModelConfig) -> Iterator[Misfit]:
    for number in range(config.n_layers):
        if config.layer(number).rope == "second":
            yield "layers", "the first RoPE or none", f"the second in layer {number}"
            return


def _writes(config: ModelConfig) -> Json:
    window: Json = {"use_sliding_window": False, "sliding_window": None}
    if config.window:
        window = {"use_sliding_window": True, **written_types(config)}
    rotated = [int(config.layer(number).rope == "first") for number in range(config.n_layers)]
    return {
        "attention_bias": config.qkv_bias,
        "mlp_bias": config.mlp_bias,
        "no_rope_layers": rotated,
        **window,
    }


SMOLLM3 = Family(
    "smollm3",
    "SmolLM3ForCausalLM",
    defaults={
        **COMMON,
        "max_position_embeddings": 32768,
        "num_key_value_heads": 4,
        "tie_word_embeddings": True,
        "pad_token_id": 128004,
        "attention_bias": False,
        "mlp_bias": False,
        "use_sliding_window": False,
        "sliding_window": None,
        "no_rope_layers": None,
        "no_rope_layer_interval": 4,
    },
    types={
        **COMMON_TYPES,
        **WINDOW_TYPES,
        **HEAD_DIM,
        "num_key_value_heads": "int null",
        **dict.fromkeys(("attention_bias", "mlp_bias", "use_sliding_window"), "bool"),
        "no_rope_layers": "ints null",
        "no_rope_layer_interval": "int",
    },
    understood="attention_bias mlp_bias use_sliding_window no_rope_layers no_rope_layer_interval",
    switches=_switches,
    windows=_windows,
    theta=2000000.0,
    unrotated=_unrotated,
    fixed=same_biases,
    free=("qkv_bias", "mlp_bias", "window", "layers"),
    misfits=_misfits,
    writes=_writes,
)
