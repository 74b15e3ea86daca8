"""Config: the fields of a file's header, and what its format implies where it has no field."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from reader_c._reader import lib

FORMATS = {lib.RC_V0: "v0", lib.RC_V1: "v1", lib.RC_V1_FP32: "v1-fp32", lib.RC_V2: "v2", lib.RC_V3: "v3"}
_GATES = {lib.RC_SILU: "silu", lib.RC_GELU: "gelu", lib.RC_GELU_TANH: "gelu_tanh"}
_SCALINGS = {
    lib.RC_UNSCALED: "none",
    lib.RC_LINEAR: "linear",
    lib.RC_DYNAMIC: "dynamic",
    lib.RC_LLAMA3: "llama3",
    lib.RC_YARN: "yarn",
}


@dataclass(frozen=True)
class RopeScaling:
    """How RoPE's frequencies differ from theta^(-2i / head_dim). Fields that the type does not use are zero.

    Attributes:
        type: "none", "linear", "dynamic", "llama3" or "yarn".
        factor, original_max_positions: of all but "none"; original_max_positions is not of "linear".
        low_freq_factor, high_freq_factor: of "llama3".
        beta_fast, beta_slow, attention_factor, truncate: of "yarn".
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


def config_of(raw: Any) -> Config:
    """Return C's rc_config as a Config."""
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
        ),
    )
