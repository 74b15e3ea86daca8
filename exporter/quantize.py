"""Quantize to Q8_0 as llama2.c defines it: symmetric int8 in groups along a row, with one float32 scale a group.

    scale = absmax / 127        q = round_half_even(w / scale)        both in float32

llama2.c leaves three cases undefined:
- A group of zeros has scale 0 and q 0 (the original divides 0 by 0).
- No scale is subnormal: where absmax / 127 falls below 2^-126, the scale is 2^-126. Then |q| stays within
  127, the error within scale / 2, and an engine that flushes denormals computes the same.
- No scale is so large that 127 * scale is infinite, as the scale of the largest float32 would be.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from exporter.errors import FormatError, WeightError

LARGEST_Q = np.float32(127)
SMALLEST_SCALE = np.float32(2.0**-126)
LARGEST_SCALE = np.float32(float.fromhex("0x1.020406p+121"))  # 127 times the next float32 is infinite

# Elements quantized at a time: many enough to vectorise, few beside a tensor.
_BLOCK = 1 << 17


class Quantized(NamedTuple):
    """A quantized tensor.

    Attributes:
        q: int8 in the input's shape.
        scale: float32 (..., in_features / group_size).
        max_error: the largest |w - q * scale| in exact arithmetic.
    """

    q: NDArray[np.int8]
    scale: NDArray[np.float32]
    max_error: float

    @property
    def max_bound(self) -> float:
        """Return a proved limit of max_error: the largest scale * (1/2 + 128u), u = 2^-24.

        Half a step is the rounding of q; 128u is what the rounding of scale and quotient can add at |q| = 127.
        """
        return float(self.scale.max()) * (0.5 + 128 * 2.0**-24)


def quantize_q80(
    w: NDArray[np.float32], group_size: int, advance: Callable[[int], None] = lambda _elements: None
) -> Quantized:
    """Quantize a tensor to Q8_0, in groups along its last axis.

    Args:
        w: float32, which is not changed.
        group_size: how many weights share a scale.
        advance: receives how many more elements are done.

    Returns:
        The int8 values, the scales, and the largest error.

    Raises:
        WeightError: a weight is NaN or infinite; the error has the index of the first.
        FormatError: w has another dtype, or group_size does not divide its last axis.
    """
    w = np.asarray(w)
    if w.dtype != np.float32:
        raise FormatError(f"quantize_q80: expected float32, found {w.dtype}")
    if group_size < 1 or w.ndim == 0 or w.shape[-1] % group_size:
        raise FormatError(
            f"quantize_q80: group_size: expected a divisor of the last axis of {w.shape}, found {group_size}"
        )
    groups = np.ascontiguousarray(w).reshape(-1, group_size)
    q = np.empty(groups.shape, np.int8)
    scale = np.empty(len(groups), np.float32)
    max_error = 0.0
    step = max(1, _BLOCK // group_size)
    for start in range(0, len(groups), step):
        block = groups[start : start + step]
        s = _scales(block)
        if not np.isfinite(s).all():
            raise not_finite(w, "quantize_q80")
        scale[start : start + step] = s
        divisor = np.where(s > 0, s, np.float32(1))[:, None]
        # at most 127: no scale is smaller than absmax / 127 by more than rounding
        rounded = np.rint(block / divisor)
        q[start : start + step] = rounded
        # in float64, where q * scale is exact
        difference = rounded.astype(np.float64)
        difference *= s.astype(np.float64)[:, None]
        np.subtract(block, difference, out=difference)
        max_error = max(max_error, float(difference.max()), -float(difference.min()))
        advance(block.size)
    return Quantized(q.reshape(w.shape), scale.reshape(*w.shape[:-1], -1), max_error)


def _scales(groups: NDArray[np.float32]) -> NDArray[np.float32]:
    # twice as fast as max over such short rows
    largest = np.maximum.reduceat(np.abs(groups).reshape(-1), np.arange(0, groups.size, groups.shape[1]))
    scale: NDArray[np.float32] = np.clip(largest / LARGEST_Q, SMALLEST_SCALE, LARGEST_SCALE)
    # a NaN or infinity stays one, so that the caller refuses it
    return np.where((largest > 0) & (largest < np.inf), scale, largest)


def not_finite(w: NDArray[np.float32], where: str) -> WeightError:
    """Return the error that names the first NaN or infinity in w."""
    index = first_index(~np.isfinite(w))
    return WeightError(f"{where}: {list(index)}: expected a finite weight, found {w[index]}", index)


def first_index(found: NDArray[np.bool_]) -> tuple[int, ...]:
    """Return the index of the first true element."""
    return tuple(int(i) for i in np.unravel_index(int(found.argmax()), found.shape))
