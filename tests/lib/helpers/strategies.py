"""Hypothesis strategies that shrink to small legal models and reach the awkward ones."""

from __future__ import annotations

import numpy as np
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

import exporter
from helpers.models import BIN_FORMATS


@st.composite
def configs(draw: st.DrawFn, *, grouped_queries: bool = True, max_layers: int = 3) -> exporter.ModelConfig:
    """Any head count and ratio, head sizes from 2 up, widths with few divisors, tied and untied."""
    n_kv_heads = draw(st.integers(1, 4))
    n_heads = n_kv_heads * (draw(st.integers(1, 4)) if grouped_queries else 1)
    return exporter.ModelConfig(
        dim=n_heads * 2 * draw(st.integers(1, 5)),
        hidden_dim=draw(st.integers(1, 41)),
        n_layers=draw(st.integers(1, max_layers)),
        n_heads=n_heads,
        n_kv_heads=n_kv_heads,
        vocab_size=draw(st.integers(1, 40)),
        max_seq_len=draw(st.integers(1, 40)),
        tied=draw(st.booleans()),
    )


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
