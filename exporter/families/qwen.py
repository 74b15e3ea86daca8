"""Qwen 2, with biases of q, k and v alone, and Qwen 3, with a norm in each head of q and k; both may have windows.

Layers of Qwen 3 MoE have a mixture of experts, or a feed forward of another width.
"""

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
from exporter.families.layer_kinds import (
    Windows,
    all_or_none,
    all_slide,
    by_layer,
    counted,
    no_window,
    optional_window,
    plain_ropes,
    written_types,
)
from exporter.families.mixtures import (
    EXPERT_DEFAULTS,
    EXPERT_TYPES,
    WITHOUT_EFFECT,
    Mixture,
    counted_experts,
    mixture,
    written_experts,
)
from exporter.huggingface_names import ExpertNames
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


def _mixture(given: Json) -> Mixture | None:
    """Every decoder_sparse_step-th layer has experts, unless mlp_only_layers names it."""
    step, plain = given["decoder_sparse_step"], given["mlp_only_layers"] or []
    if step < 1:
        raise CheckpointError(f"decoder_sparse_step: expected at least 1, found {step}")
    layers = tuple(n for n in range(counted(given)) if n not in plain and (n + 1) % step == 0)
    if not layers or not counted_experts(given, "num_experts"):
        return None
    normalized: bool = given["norm_topk_prob"]
    return mixture(given, layers, "num_experts", "moe_intermediate_size", normalized=normalized)


def _moe_misfits(config: ModelConfig) -> Iterator[Misfit]:
    yield from all_or_none(config)
    if not config.n_experts:
        yield "n_experts", "at least 2", "0"


def _moe_writes(config: ModelConfig) -> Json:
    return {
        "attention_bias": config.qkv_bias,
        "use_sliding_window": bool(config.window),
        "sliding_window": config.window or None,
        **written_experts(config, "num_experts"),
        "moe_intermediate_size": config.expert_hidden_dim,
        "norm_topk_prob": config.experts_normalized,
        "decoder_sparse_step": 1,
        "mlp_only_layers": [n for n in range(config.n_layers) if not config.layer(n).experts],
    }


QWEN3_MOE = Family(
    "qwen3_moe",
    "Qwen3MoeForCausalLM",
    defaults={
        **COMMON,
        **EXPERT_DEFAULTS,
        "max_position_embeddings": 32768,
        "num_key_value_heads": 4,
        "attention_bias": False,
        "use_sliding_window": False,
        "sliding_window": 4096,
        "decoder_sparse_step": 1,
        "mlp_only_layers": None,
        "moe_intermediate_size": 768,
        "num_experts_per_tok": 8,
        "num_experts": 128,
        "norm_topk_prob": False,
    },
    types={
        **COMMON_TYPES,
        **EXPERT_TYPES,
        **HEAD_DIM,
        **dict.fromkeys(("num_key_value_heads", "num_experts", "moe_intermediate_size"), "int"),
        **dict.fromkeys(("attention_bias", "use_sliding_window", "norm_topk_prob"), "bool"),
        "sliding_window": "int null",
        "decoder_sparse_step": "int",
        "mlp_only_layers": "ints null",
    },
    understood=(
        "attention_bias use_sliding_window num_experts num_local_experts num_experts_per_tok moe_intermediate_size "
        "norm_topk_prob decoder_sparse_step mlp_only_layers"
    ),
    without_effect=WITHOUT_EFFECT,
    switches=lambda given, base: {**attention_biases(given, base), "qk_norm": "head"},
    windows=lambda given: all_slide(given) if given["use_sliding_window"] else no_window(given),
    mixture=_mixture,
    expert_names=ExpertNames(),
    fixed=lambda config: {**same_biases(config), "qk_norm": "head"},
    free=("qkv_bias", "window", "layers", "n_experts"),
    misfits=_moe_misfits,
    writes=_moe_writes,
)
