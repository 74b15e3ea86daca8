"""Hypothesis strategies that shrink to small legal models and reach the awkward ones."""

from __future__ import annotations

from typing import Any

import numpy as np
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

import exporter
from exporter.config import ACTIVATIONS, ROPE_SCALING_FIELDS
from helpers.models import BIN_FORMATS


@st.composite
def configs(
    draw: st.DrawFn,
    *,
    grouped_queries: bool = True,
    max_layers: int = 3,
    head_sizes: bool = False,
    scalings: bool = False,
    biases: bool = False,
    activations: bool = False,
    numbers: bool = False,
) -> exporter.ModelConfig:
    """Any head count and ratio, head sizes from 2 up, widths with few divisors, tied and untied. The switches add
    what v0 to v2 cannot hold: heads of another size than dim / n_heads, RoPE scalings, biases, activations, and any
    norm_eps and rope_theta."""
    n_kv_heads = draw(st.integers(1, 4))
    n_heads = n_kv_heads * (draw(st.integers(1, 4)) if grouped_queries else 1)
    max_seq_len = draw(st.integers(1, 40))
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
    """Any of the kinds, with numbers that no two fields share by accident."""
    kind = draw(st.sampled_from(sorted(ROPE_SCALING_FIELDS)))
    low = draw(st.floats(0.5, 2))
    values: dict[str, Any] = {
        "factor": draw(st.floats(1, 16)),
        # dynamic: the length from which it scales, the only one that a KV cache can follow up to
        "original_max_positions": max_seq_len if kind == "dynamic" else draw(st.integers(1, 64)),
        "low_freq_factor": low,
        "high_freq_factor": low + draw(st.floats(0.25, 8)),
        "beta_fast": draw(st.floats(2, 64)),
        "beta_slow": draw(st.floats(0.25, 2)),
        "attention_factor": draw(st.floats(0.5, 2)),
        "truncate": draw(st.booleans()),
    }
    return exporter.RopeScaling(kind, **{field: values[field] for field in ROPE_SCALING_FIELDS[kind]})


def formats() -> st.SearchStrategy[str]:
    return st.sampled_from(BIN_FORMATS)


_SUBNORMAL = 2.0**-149
_AWKWARD = [0.0, -0.0, _SUBNORMAL, -_SUBNORMAL, 2.0**-126, -(2.0**-126), 127 * 2.0**-126, 3.4e38, -3.4e38, 1e-22, 1e3]


@st.composite
def weights(draw: st.DrawFn, group_size: int) -> np.ndarray:
    """Rows of whole groups: zero, subnormal, tie-making, huge and mixed values."""
    shape = (draw(st.integers(1, 5)), group_size * draw(st.integers(1, 4)))
    element = st.one_of(
        st.sampled_from(_AWKWARD).map(np.float32),
        st.floats(width=32, allow_nan=False, allow_infinity=False),
        st.integers(-254, 254).map(lambda i: np.float32(i / 2)),
    )
    return draw(hnp.arrays(np.float32, shape, elements=element))
