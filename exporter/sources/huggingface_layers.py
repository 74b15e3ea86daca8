"""How each layer of a model differs: its window, its RoPE and its experts, as fields of ModelConfig."""

from __future__ import annotations

from typing import Any

from exporter.config import ModelConfig
from exporter.errors import CheckpointError
from exporter.families.family import Family
from exporter.families.layer_kinds import Windows
from exporter.families.mixtures import Mixture
from exporter.sources.huggingface_local_rope import read_ropes
from exporter.sources.huggingface_rope import read_rope
from exporter.strict_json import Json
from exporter.switches import LayerKind


def layers_and_ropes(
    raw: Json, given: Json, config: ModelConfig, family: Family, windows: Windows
) -> tuple[dict[str, Any], list[str]]:
    """Return the fields of layers, windows, RoPE and experts, and what there is to note. Raises CheckpointError.

    given: raw with the family's defaults; config: the model without them.
    """
    local_theta = 0.0
    if family.local_theta:
        rope, local_theta, notes = read_ropes(raw, config.max_seq_len, family)
    else:
        rope = read_rope(raw, config.max_seq_len, family, config.head_dim)
        notes = list(rope.notes)
    if rope.scaling.type == "dynamic" and config.head_dim == 2:
        raise CheckpointError("head_dim: expected more than 2 for dynamic RoPE scaling, found 2")
    width = config.dim // config.n_heads
    if rope.scaling.type == "longrope" and config.head_dim != width:
        raise CheckpointError(
            f"head_dim: expected hidden_size / num_attention_heads = {width}, by which transformers counts the "
            f"factors of longrope, found {config.head_dim}"
        )
    layers = _layers(given, config, family, windows)
    fields = {
        "rope_theta": rope.theta,
        "rope_scaling": rope.scaling,
        "rotary_dim": rope.rotary_dim,
        "query_scale_beta": rope.beta,
        "query_scale_positions": rope.positions,
        "local_theta": local_theta if any(layer.rope == "second" for layer in layers) else 0.0,
        "window": windows.window or 0,
        "layers": layers,
        **_experts(config, family.mixture(given)),
    }
    return fields, notes


def _experts(config: ModelConfig, mixture: Mixture | None) -> dict[str, Any]:
    """Return the fields of a mixture of experts. Where every layer has one, hidden_dim describes nothing else."""
    if mixture is None:
        return {}
    return {
        "n_experts": mixture.experts,
        "n_active_experts": mixture.active,
        "expert_hidden_dim": mixture.hidden,
        "experts_normalized": mixture.normalized,
        "hidden_dim": mixture.hidden if len(mixture.layers) == config.n_layers else config.hidden_dim,
    }


def _layers(given: Json, config: ModelConfig, family: Family, windows: Windows) -> tuple[LayerKind, ...]:
    """Return the kind of each layer; of none where all are as in Llama."""
    unrotated, mixture = set(family.unrotated(given)), family.mixture(given)
    mixed = set(mixture.layers) if mixture else set()
    if not windows.slides and not unrotated and not mixed:
        return ()

    def rope(number: int) -> str:
        if number in unrotated:
            return "none"
        return "second" if family.local_theta and windows.slides[number] else "first"

    slides = windows.slides or (False,) * config.n_layers
    return tuple(
        LayerKind(slides[n] and windows.window is not None, rope(n), n in mixed) for n in range(config.n_layers)
    )
