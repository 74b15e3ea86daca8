"""Draw the shapes of models."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st

import exporter
from exporter.config import ACTIVATIONS, ROPE_SCALING_FIELDS


@st.composite
def configs(
    draw: st.DrawFn,
    *,
    grouped_queries: bool = True,
    max_layers: int = 3,
    least_positions: int = 1,
    head_sizes: bool = False,
    scalings: bool = False,
    biases: bool = False,
    activations: bool = False,
    numbers: bool = False,
) -> exporter.ModelConfig:
    """Draw configurations: any head count and ratio, head sizes from 2 up, widths with few divisors, tied and untied.

    Args:
        grouped_queries: also fewer kv heads than heads.
        max_layers: the most layers.
        least_positions: the least max_seq_len; verify() requires 2, to have a next token.
        head_sizes, scalings, biases, activations, numbers: what v0 to v2 cannot express: heads of another size than
            dim / n_heads, RoPE scalings, biases, activations, and any norm_eps and rope_theta.

    Returns:
        A strategy of configurations.
    """
    n_kv_heads = draw(st.integers(1, 4))
    n_heads = n_kv_heads * (draw(st.integers(1, 4)) if grouped_queries else 1)
    max_seq_len = draw(st.integers(least_positions, 40))
    more: dict[str, Any] = {}
    if head_sizes:
        more["head_dim"] = 2 * draw(st.integers(1, 6))
    if scalings:
        more["rope_scaling"] = draw(rope_scalings(max_seq_len))
    if biases:
        more |= {name: draw(st.booleans()) for name in ("qkv_bias", "wo_bias", "mlp_bias")}
    if activations:
        more["activation"] = draw(st.sampled_from(ACTIVATIONS))
    if numbers:
        more["norm_eps"] = draw(st.floats(1e-8, 1e-2))
        more["rope_theta"] = draw(st.floats(1.5, 1e7))
    return exporter.ModelConfig(
        dim=n_heads * 2 * draw(st.integers(1, 5)),
        hidden_dim=draw(st.integers(1, 41)),
        n_layers=draw(st.integers(1, max_layers)),
        n_heads=n_heads,
        n_kv_heads=n_kv_heads,
        vocab_size=draw(st.integers(1, 40)),
        max_seq_len=max_seq_len,
        tied=draw(st.booleans()),
        **more,
    )


@st.composite
def rope_scalings(draw: st.DrawFn, max_seq_len: int) -> exporter.RopeScaling:
    """Draw any kind of RoPE scaling, with different numbers in all fields.

    Args:
        max_seq_len: of the model.

    Returns:
        A strategy of scalings.
    """
    kind = draw(st.sampled_from(sorted(ROPE_SCALING_FIELDS)))
    low = draw(st.floats(0.5, 2))
    values: dict[str, Any] = {
        "factor": draw(st.floats(1, 16)),
        # dynamic: the length at which scaling begins, the only one that works with a KV cache
        "original_max_positions": max_seq_len if kind == "dynamic" else draw(st.integers(1, 64)),
        "low_freq_factor": low,
        "high_freq_factor": low + draw(st.floats(0.25, 8)),
        "beta_fast": draw(st.floats(2, 64)),
        "beta_slow": draw(st.floats(0.25, 2)),
        "attention_factor": draw(st.floats(0.5, 2)),
        "truncate": draw(st.booleans()),
    }
    return exporter.RopeScaling(kind, **{field: values[field] for field in ROPE_SCALING_FIELDS[kind]})
