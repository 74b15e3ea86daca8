"""Draw the shapes of models."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st

import exporter
from exporter.config import ACTIVATIONS
from exporter.rope_scaling import ROPE_SCALING_FIELDS
from exporter.switches import LAYER_ROPES, NORM_PLACES, QK_NORMS, LayerKind

# The scalings that no engine with a KV cache can follow beyond the original length.
_BOUNDED = ("dynamic", "longrope")


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
    switches: bool = False,
) -> exporter.ModelConfig:
    """Draw configurations: any head count and ratio, head sizes from 2 up, widths with few divisors, tied and untied.

    Args:
        grouped_queries: also fewer kv heads than heads.
        max_layers: the most layers.
        least_positions: the least max_seq_len; verify() requires 2, to have a next token.
        head_sizes, scalings, biases, activations, numbers: what v0 to v2 cannot express: heads of another size than
            dim / n_heads, RoPE scalings, biases, activations, and any norm_eps and rope_theta.
        switches: also what makes a model another one than a Llama, in any combination: the place of norms, norms of
            queries and keys, partial RoPE and a second one, windows, scales and caps; with scalings, longrope too.

    Returns:
        A strategy of configurations.
    """
    n_kv_heads = draw(st.integers(1, 4))
    n_heads = n_kv_heads * (draw(st.integers(1, 4)) if grouped_queries else 1)
    max_seq_len = draw(st.integers(least_positions, 40))
    more: dict[str, Any] = {}
    if head_sizes:
        more["head_dim"] = 2 * draw(st.integers(1, 6))
    if biases:
        more |= {name: draw(st.booleans()) for name in ("qkv_bias", "wo_bias", "mlp_bias")}
    if activations:
        more["activation"] = draw(st.sampled_from(ACTIVATIONS))
    if numbers:
        more["norm_eps"] = draw(st.floats(1e-8, 1e-2))
        more["rope_theta"] = draw(st.floats(1.5, 1e7))
    dim, n_layers = n_heads * 2 * draw(st.integers(1, 5)), draw(st.integers(1, max_layers))
    if switches:
        more |= draw(_switches(n_layers, more.get("head_dim", dim // n_heads), max_seq_len))
    if scalings:
        rotated = more.get("rotary_dim") or more.get("head_dim", dim // n_heads)
        more["rope_scaling"] = draw(rope_scalings(max_seq_len, rotated // 2 if switches else 0))
    return exporter.ModelConfig(
        dim=dim,
        hidden_dim=draw(st.integers(1, 41)),
        n_layers=n_layers,
        n_heads=n_heads,
        n_kv_heads=n_kv_heads,
        vocab_size=draw(st.integers(1, 40)),
        max_seq_len=max_seq_len,
        tied=draw(st.booleans()),
        **more,
    )


@st.composite
def _switches(draw: st.DrawFn, n_layers: int, head_dim: int, max_seq_len: int) -> dict[str, Any]:
    """Draw fields of ModelConfig beyond Llama's, which agree with each other."""
    kinds = st.builds(LayerKind, st.booleans(), st.sampled_from(LAYER_ROPES))
    layers = draw(st.just(()) | st.tuples(*[kinds] * n_layers))
    beta = draw(st.just(0.0) | st.floats(0.01, 2))
    scales, caps = st.just(1.0) | st.floats(0.1, 10), st.just(0.0) | st.floats(1, 60)
    return {
        "norm_place": draw(st.sampled_from(NORM_PLACES)),
        "norm_plus_one": draw(st.booleans()),
        "qk_norm": draw(st.sampled_from(QK_NORMS)),
        "rotary_dim": draw(st.just(0) | st.integers(1, head_dim // 2).map(lambda pairs: 2 * pairs)),
        "window": draw(st.integers(1, max_seq_len + 2)) if any(layer.windowed for layer in layers) else 0,
        "query_scale_beta": beta,
        "query_scale_positions": draw(st.integers(1, max_seq_len)) if beta else 0,
        "embedding_scale": draw(scales),
        "score_scale": draw(st.just(0.0) | st.floats(0.05, 1)),
        "residual_scale": draw(scales),
        "logit_divisor": draw(scales),
        "score_cap": draw(caps),
        "logit_cap": draw(caps),
        "local_theta": draw(st.floats(10, 1e5)) if any(layer.rope == "second" for layer in layers) else 0.0,
        "layers": layers,
    }


@st.composite
def rope_scalings(draw: st.DrawFn, max_seq_len: int, pairs: int = 0) -> exporter.RopeScaling:
    """Draw any kind of RoPE scaling, with different numbers in all fields.

    Args:
        max_seq_len: of the model.
        pairs: how many each head rotates, for longrope, which is drawn only if they are given.

    Returns:
        A strategy of scalings.
    """
    kind = draw(st.sampled_from(sorted(kind for kind in ROPE_SCALING_FIELDS if pairs or kind != "longrope")))
    low = draw(st.floats(0.5, 2))
    values: dict[str, Any] = {
        "factor": draw(st.floats(1, 16)),
        # the length at which scaling changes, the only one that works with a KV cache
        "original_max_positions": max_seq_len if kind in _BOUNDED else draw(st.integers(1, 64)),
        "low_freq_factor": low,
        "high_freq_factor": low + draw(st.floats(0.25, 8)),
        "beta_fast": draw(st.floats(2, 64)),
        "beta_slow": draw(st.floats(0.25, 2)),
        "attention_factor": draw(st.floats(0.5, 2)),
        "truncate": draw(st.booleans()),
        "short_factors": tuple(draw(st.floats(1, 64, width=32)) for _ in range(pairs)),
    }
    return exporter.RopeScaling(kind, **{field: values[field] for field in ROPE_SCALING_FIELDS[kind]})
