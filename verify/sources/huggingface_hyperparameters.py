"""Derives hyper-parameters from transformers' config object: what no tensor's shape says."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from verify.sources.checked_numbers import count, positive
from verify.sources.huggingface_experts import layers_with_experts
from verify.sources.huggingface_families import FAMILIES, Family
from verify.sources.huggingface_rope import local_theta, query_scale, read_rope, rotary_dim
from verify.sources.huggingface_settings import Settings
from verify.sources.huggingface_windows import read_windows
from verify.sources.refusal import refusal
from verify.sources.source import Hyperparameters, LayerKind

ACTIVATIONS = {
    "silu": "silu",
    "swish": "silu",
    "gelu": "gelu",
    "gelu_new": "gelu_tanh",
    "gelu_pytorch_tanh": "gelu_tanh",
}


def hyperparameters(
    where: Path, settings: Settings, config: Any, sizes: dict[str, Any], max_seq_len: int | None
) -> tuple[Hyperparameters, list[str]]:
    """Return hyper-parameters and notes. sizes: counts by their names in Hyperparameters. Raises CannotJudgeError."""
    family = FAMILIES[settings.family]
    activation = getattr(config, family.activation)
    if activation not in ACTIVATIONS:
        raise refusal(where, family.activation, f"one of {', '.join(ACTIVATIONS)}", activation)
    longest = count(where, "max_position_embeddings", config.max_position_embeddings)
    windows = read_windows(where, settings.family, config, longest, max_seq_len)
    theta, scaling, notes = read_rope(where, settings, config, longest, sizes["head_dim"])
    original = scaling.original_max_positions
    if scaling.type == "longrope" and windows.length > original:
        what = "max_position_embeddings" if max_seq_len is None else "max_seq_len"
        advice = f"longrope has other factors beyond it; --max-seq-len {original} cuts the model to it"
        raise refusal(where, what, f"at most original_max_position_embeddings = {original}", windows.length, advice)
    second = local_theta(where, settings, config) if any(windows.sliding) else 0.0
    beta, positions = query_scale(where, settings, config)
    found = Hyperparameters(
        **sizes,
        max_seq_len=windows.length,
        tied=bool(config.tie_word_embeddings),
        norm_eps=positive(where, "rms_norm_eps", config.rms_norm_eps),
        rope_theta=theta,
        rope_scaling=scaling,
        **_biases(family, config),
        activation=ACTIVATIONS[activation],
        norm_place=family.norm_place,
        norm_plus_one=family.norm_plus_one,
        qk_norm=family.qk_norm,
        rotary_dim=rotary_dim(where, settings, config, sizes["head_dim"]),
        window=windows.width,
        query_scale_positions=positions,
        query_scale_beta=beta,
        local_theta=second,
        layers=_layers(where, settings, config, windows.windowed, windows.sliding if second else ()),
        **_scales(where, settings, config, sizes),
    )
    return found, [*windows.notes, *notes]


def _biases(family: Family, config: Any) -> dict[str, bool]:
    """Return which matrices have biases, by their names in Hyperparameters."""
    if family.all_biases:
        return dict.fromkeys(("qkv_bias", "wo_bias", "mlp_bias"), bool(getattr(config, family.all_biases)))
    attention = family.attention_bias and bool(config.attention_bias)
    output = bool(getattr(config, family.output_bias, False)) if family.output_bias else attention
    mlp = family.mlp_bias and bool(config.mlp_bias)
    return {"qkv_bias": attention or family.qkv_bias, "wo_bias": output, "mlp_bias": mlp}


def _layers(
    where: Path, settings: Settings, config: Any, windowed: tuple[bool, ...], second: tuple[bool, ...]
) -> tuple[LayerKind, ...]:
    """Return how each layer attends. second: which layers have the second RoPE, if any has."""
    rotated = (True,) * len(windowed)
    if settings.family == "smollm3":
        said = config.no_rope_layers
        if not isinstance(said, list) or len(said) < len(windowed):
            raise refusal(where, "no_rope_layers", f"a list of at least {len(windowed)} numbers", said)
        for number in said:
            if number not in (0, 1):
                raise refusal(where, "no_rope_layers", "0 and 1 alone", number)
        rotated = tuple(bool(number) for number in said[: len(windowed)])
    if settings.family == "exaone4" and config.sliding_window is not None:
        rotated = tuple(kind == "sliding_attention" for kind in config.layer_types)
    ropes = ["second" if of_second else "first" for of_second in second or (False,) * len(windowed)]
    sparse = layers_with_experts(where, settings.family, config, len(windowed))
    return tuple(
        LayerKind(hides, rope if turns else "none", has_experts)
        for hides, rope, turns, has_experts in zip(windowed, ropes, rotated, sparse, strict=True)
    )


def _scales(where: Path, settings: Settings, config: Any, sizes: dict[str, Any]) -> dict[str, Any]:
    """Return scales, divisors and caps by their names in Hyperparameters."""
    if settings.family == "granite":
        return {
            "embedding_scale": positive(where, "embedding_multiplier", config.embedding_multiplier),
            "score_scale": positive(where, "attention_multiplier", config.attention_multiplier),
            "residual_scale": positive(where, "residual_multiplier", config.residual_multiplier),
            "logit_divisor": positive(where, "logits_scaling", config.logits_scaling),
        }
    if settings.family == "gemma":
        return {"embedding_scale": sizes["dim"] ** 0.5}
    if settings.family not in ("gemma2", "gemma3_text"):
        return {}
    scalar = positive(where, "query_pre_attn_scalar", config.query_pre_attn_scalar)
    return {
        # transformers rounds it to the type of the weights, which is float32 where this project computes
        "embedding_scale": sizes["dim"] ** 0.5,
        "score_scale": scalar**-0.5,
        "score_cap": _cap(where, config, "attn_logit_softcapping") if settings.family == "gemma2" else 0.0,
        "logit_cap": _cap(where, config, "final_logit_softcapping"),
    }


def _cap(where: Path, config: Any, key: str) -> float:
    """Return a cap, 0 for none."""
    said = getattr(config, key)
    return 0.0 if said is None else positive(where, key, said)
