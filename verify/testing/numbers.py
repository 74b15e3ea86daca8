"""Draw weights, whole models in memory, and windows of tokens."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import ml_dtypes
import numpy as np
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray

import exporter
from exporter.checkpoint import Dtype
from exporter.config import tensor_shapes
from verify.testing.shapes import configs

Arrays = dict[str, NDArray[np.float32]]


@st.composite
def checkpoints(draw: st.DrawFn, of: st.SearchStrategy[exporter.ModelConfig] | None = None) -> exporter.Checkpoint:
    """Draw whole models in memory.

    The weights are random, of a usual size, rounded to float32, float16 or bfloat16; some groups are made zero,
    subnormal, or small around one outlier. They are small enough for float32 arithmetic to stay within any policy.

    Args:
        of: draws the configurations. By default every format can hold the models; configs() can draw some that only
            v3 holds.

    Returns:
        A strategy of checkpoints.
    """
    config = draw(configs(least_positions=2) if of is None else of)
    dtype = draw(st.sampled_from(list(_DTYPES)))
    arrays = random_arrays(config, draw(st.integers(0, 2**32 - 1)))
    for name in draw(st.lists(st.sampled_from(sorted(arrays)), max_size=6)):
        # a view of the rows; a vector counts as one row
        rows = arrays[name].reshape(-1, arrays[name].shape[-1])
        first, start = draw(st.integers(0, rows.shape[0] - 1)), draw(st.integers(0, rows.shape[1] - 1))
        last, stop = draw(st.integers(first, rows.shape[0] - 1)), draw(st.integers(start, rows.shape[1] - 1))
        group = rows[first : last + 1, start : stop + 1]
        group[...] = _AWKWARD_GROUPS[draw(st.sampled_from(list(_AWKWARD_GROUPS)))](group)
    held = {name: array.astype(_DTYPES[dtype]).astype(np.float32) for name, array in arrays.items()}
    return exporter.Checkpoint(
        config,
        tensor_shapes(config),
        held.__getitem__,
        where=f"{dtype} weights in memory of {config}",
        kind="memory",
        dtypes=dict.fromkeys(held, dtype),
    )


def random_arrays(config: exporter.ModelConfig, seed: int = 0) -> Arrays:
    """Make random weights, of a size that keeps activations near 1; norms multiply by nearly 1.

    Args:
        config: of the model.
        seed: of the random numbers.

    Returns:
        float32 arrays by name.
    """
    rng = np.random.default_rng(seed)
    made = {}
    for name, shape in tensor_shapes(config).items():
        values = rng.standard_normal(shape)
        one = 0 if config.norm_plus_one and name.endswith("norm.weight") else 1
        scaled = one + 0.1 * values if len(shape) == 1 else values / np.sqrt(shape[1])
        made[name] = scaled.astype(np.float32)
    return made


@st.composite
def token_windows(draw: st.DrawFn, config: exporter.ModelConfig, *, most: int = 4) -> list[NDArray[np.int64]]:
    """Draw windows of 2 to max_seq_len token ids, as verify(windows=...) takes them.

    Args:
        config: of the model.
        most: how many windows at most.

    Returns:
        A strategy of lists of windows.

    Raises:
        ValueError: the model has one position, and so no next token.
    """
    if config.max_seq_len < 2:
        raise ValueError(f"max_seq_len: expected at least 2, to have a next token, found {config.max_seq_len}")
    lengths = st.integers(2, config.max_seq_len)
    window = hnp.arrays(np.int64, lengths, elements=st.integers(0, config.vocab_size - 1))
    return draw(st.lists(window, min_size=1, max_size=most))


@st.composite
def weights(draw: st.DrawFn, group_size: int) -> NDArray[np.float32]:
    """Draw rows of whole groups: zero, subnormal, tie-making, huge and mixed values.

    Args:
        group_size: how many weights share a scale.

    Returns:
        A strategy of float32 matrices.
    """
    shape = (draw(st.integers(1, 5)), group_size * draw(st.integers(1, 4)))
    element = st.one_of(
        st.sampled_from(_AWKWARD).map(np.float32),
        st.floats(width=32, allow_nan=False, allow_infinity=False),
        st.integers(-254, 254).map(lambda i: np.float32(i / 2)),
    )
    return draw(hnp.arrays(np.float32, shape, elements=element))


_SUBNORMAL = 2.0**-149
_AWKWARD = [0.0, -0.0, _SUBNORMAL, -_SUBNORMAL, 2.0**-126, -(2.0**-126), 127 * 2.0**-126, 3.4e38, -3.4e38, 1e-22, 1e3]


def _around_an_outlier(group: NDArray[np.float32]) -> NDArray[np.float32]:
    """Keep the first number and make the others hundreds of times smaller: an outlier that overflows nothing."""
    small = group / np.float32(512)
    small[:, 0] = group[:, 0]
    return small


_AWKWARD_GROUPS: dict[str, Callable[[NDArray[np.float32]], NDArray[np.float32]]] = {
    "zero": np.zeros_like,
    "subnormal": lambda group: group * np.float32(2.0**-130),
    "outlier": _around_an_outlier,
}

_DTYPES: dict[Dtype, Any] = {"fp32": np.float32, "fp16": np.float16, "bf16": ml_dtypes.bfloat16}
