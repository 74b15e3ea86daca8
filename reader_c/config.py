"""Config: the fields of a file's header, and what its format implies where it has no field."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from reader_c._reader import ffi, lib

FORMATS = {
    lib.RC_V0: "v0",
    lib.RC_V1: "v1",
    lib.RC_V1_FP32: "v1-fp32",
    lib.RC_V2: "v2",
    lib.RC_V3: "v3",
    lib.RC_AJC1: "ajc1",
}
_GATES = {lib.RC_SILU: "silu", lib.RC_GELU: "gelu", lib.RC_GELU_TANH: "gelu_tanh"}
_NORM_PLACES = {lib.RC_NORM_BEFORE: "before", lib.RC_NORM_AFTER: "after", lib.RC_NORM_BOTH: "both"}
_QK_NORMS = {lib.RC_QK_PLAIN: "none", lib.RC_QK_BY_HEAD: "head", lib.RC_QK_WHOLE: "whole"}
_LAYER_ROPES = {lib.RC_NO_ROPE: "none", lib.RC_FIRST_ROPE: "first", lib.RC_SECOND_ROPE: "second"}
_SCALINGS = {
    lib.RC_UNSCALED: "none",
    lib.RC_LINEAR: "linear",
    lib.RC_DYNAMIC: "dynamic",
    lib.RC_LLAMA3: "llama3",
    lib.RC_YARN: "yarn",
    lib.RC_LONGROPE: "longrope",
}


@dataclass(frozen=True)
class RopeScaling:
    """How RoPE's frequencies differ from theta^(-2i / head_dim). Fields that the type does not use are zero.

    Attributes:
        type: "none", "linear", "dynamic", "llama3", "yarn" or "longrope".
        factor, original_max_positions: of all but "none"; original_max_positions is not of "linear", and factor is
            not of "longrope".
        low_freq_factor, high_freq_factor: of "llama3".
        beta_fast, beta_slow, attention_factor, truncate: of "yarn"; attention_factor is of "longrope", too.
        short_factors: of "longrope": by what the frequency of each pair is divided.
    """

    type: str
    factor: float
    original_max_positions: int
    low_freq_factor: float
    high_freq_factor: float
    beta_fast: float
    beta_slow: float
    attention_factor: float
    truncate: bool
    short_factors: tuple[float, ...] = ()


@dataclass(frozen=True)
class Layer:
    """How one layer differs from a Llama's.

    Attributes:
        windowed: whether it sees only the last `window` positions.
        rope: "none", "first" (rope_theta with its scaling) or "second" (local_theta).
        experts: whether its feed forward is a mixture of experts.
    """

    windowed: bool
    rope: str
    experts: bool = False


@dataclass(frozen=True)
class Config:
    """What the header says, field by field, with what the format implies where it has no field.

    Attributes:
        dim, hidden_dim, n_layers, n_heads, n_kv_heads, head_dim: the model's shape.
        vocab_size: positive, also where v0 stores it negative.
        max_seq_len: the most positions.
        shared_classifier: whether the classifier is the token embedding.
        qkv_bias, wo_bias, mlp_bias: which matrices have a bias.
        activation: "silu", "gelu" (erf) or "gelu_tanh".
        group_size: the smallest of all Q8_0 tensors, 0 without any.
        norm_eps, rope_theta, rope_scaling: of the norms and of RoPE.
        norm_place: norms stand "before" attention and feed forward, "after" them, or "both".
        norm_plus_one: norms multiply by 1 + weight instead of weight.
        qk_norm: queries and keys have no norm ("none"), one for each "head", or one over the "whole" projection.
        rotary_dim: how many elements of a head RoPE rotates.
        window: positions that a windowed layer sees, its own included; 0 without such a layer.
        query_scale_beta, query_scale_positions: queries at position p are multiplied by
            1 + beta * ln(1 + floor(p / positions)); 0 for none.
        embedding_scale, residual_scale: factors of embeddings, and of what each block adds; 1 for none.
        score_scale: scores are multiplied by it; 0: they are divided by sqrt(head_dim).
        logit_divisor: logits are divided by it; 1 for none.
        score_cap, logit_cap: scores and logits become cap * tanh(x / cap); 0 for none.
        local_theta: theta of the second RoPE; 0 without one.
        n_experts, n_active_experts, expert_hidden_dim: of layers with a mixture of experts, how many there are, how
            many a token goes through, and their width; 0 without such a layer. hidden_dim is of the other layers.
        experts_normalized: the shares of a token's experts are divided by their sum.
        layers: of each layer, whether it is windowed, its RoPE, and whether it has experts.
    """

    dim: int
    hidden_dim: int
    n_layers: int
    n_heads: int
    n_kv_heads: int
    vocab_size: int
    max_seq_len: int
    head_dim: int
    shared_classifier: bool
    qkv_bias: bool
    wo_bias: bool
    mlp_bias: bool
    activation: str
    group_size: int
    norm_eps: float
    rope_theta: float
    rope_scaling: RopeScaling
    norm_place: str
    norm_plus_one: bool
    qk_norm: str
    rotary_dim: int
    window: int
    query_scale_positions: int
    embedding_scale: float
    score_scale: float
    residual_scale: float
    logit_divisor: float
    score_cap: float
    logit_cap: float
    query_scale_beta: float
    local_theta: float
    n_experts: int
    n_active_experts: int
    expert_hidden_dim: int
    experts_normalized: bool
    layers: tuple[Layer, ...]


def _layers_of(model: Any, raw: Any) -> tuple[Layer, ...]:
    """Return what C's rc_model says of each layer."""
    count: int = raw.n_layers
    if raw.format != lib.RC_V3:
        return (Layer(windowed=False, rope="first"),) * count  # without asking: v1 may have very many
    layers: list[Layer] = []
    kind = ffi.new("rc_layer *")
    for number in range(count):
        lib.rc_model_layer(model, number, kind)
        rope = _LAYER_ROPES[kind.rope]
        layers.append(Layer(windowed=bool(kind.windowed), rope=rope, experts=bool(kind.experts)))
    return tuple(layers)


def _factors_of(model: Any, pairs: int) -> tuple[float, ...]:
    """Return longrope's factors, as many as the model has."""
    factor = ffi.new("float *")
    return tuple(factor[0] for pair in range(pairs) if lib.rc_model_rope_factor(model, pair, factor))


def config_of(model: Any) -> Config:
    """Return C's rc_config of an open rc_model as a Config."""
    raw = lib.rc_model_config(model)
    scaling = raw.scaling
    return Config(
        dim=raw.dim,
        hidden_dim=raw.hidden_dim,
        n_layers=raw.n_layers,
        n_heads=raw.n_heads,
        n_kv_heads=raw.n_kv_heads,
        vocab_size=raw.vocab_size,
        max_seq_len=raw.max_seq_len,
        head_dim=raw.head_dim,
        shared_classifier=bool(raw.shared_classifier),
        qkv_bias=bool(raw.qkv_bias),
        wo_bias=bool(raw.wo_bias),
        mlp_bias=bool(raw.mlp_bias),
        activation=_GATES[raw.gate],
        group_size=raw.group_size,
        norm_eps=raw.norm_eps,
        rope_theta=raw.rope_theta,
        rope_scaling=RopeScaling(
            type=_SCALINGS[scaling.type],
            factor=scaling.factor,
            original_max_positions=scaling.original_max_positions,
            low_freq_factor=scaling.low_freq_factor,
            high_freq_factor=scaling.high_freq_factor,
            beta_fast=scaling.beta_fast,
            beta_slow=scaling.beta_slow,
            attention_factor=scaling.attention_factor,
            truncate=bool(scaling.truncate),
            short_factors=_factors_of(model, raw.rotary_dim // 2 if scaling.type == lib.RC_LONGROPE else 0),
        ),
        norm_place=_NORM_PLACES[raw.norm_place],
        norm_plus_one=bool(raw.norm_plus_one),
        qk_norm=_QK_NORMS[raw.qk_norm],
        rotary_dim=raw.rotary_dim,
        window=raw.window,
        query_scale_positions=raw.query_scale_positions,
        embedding_scale=raw.embedding_scale,
        score_scale=raw.score_scale,
        residual_scale=raw.residual_scale,
        logit_divisor=raw.logit_divisor,
        score_cap=raw.score_cap,
        logit_cap=raw.logit_cap,
        query_scale_beta=raw.query_scale_beta,
        local_theta=raw.local_theta,
        n_experts=raw.n_experts,
        n_active_experts=raw.n_active_experts,
        expert_hidden_dim=raw.expert_hidden_dim,
        experts_normalized=bool(raw.experts_normalized),
        layers=_layers_of(model, raw),
    )
