"""From float32 to what a file stores: float32, half precision or Q8_0."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from exporter.checkpoint import Weights
from exporter.errors import WeightError
from exporter.quantize import first_index, quantize_q80

# Largest relative error of a normal half-precision number, and the largest error of a subnormal one.
_HALF_BOUNDS = {"fp16": (2.0**-11, 2.0**-25), "bf16": (2.0**-8, 2.0**-134)}

# Elements narrowed at a time: enough to vectorise, little beside a tensor.
_BLOCK = 1 << 18


class Encoded(NamedTuple):
    """Parts of a tensor as stored, by name; bfloat16 as its bits, uint16. max_error: largest |w - stored|, exactly;
    bound: what it cannot pass."""

    parts: dict[str, NDArray[np.generic]]
    max_error: float
    bound: float


def encode(weights: Weights, storage: str, group_size: int, where: str) -> Encoded:
    """storage: "fp32", "fp16", "bf16" or "q8_0". Raises WeightError where a finite weight would become infinite."""
    if storage == "fp32":
        return Encoded({"fp32": weights}, 0.0, 0.0)
    if storage == "q8_0":
        quantized = quantize_q80(weights, group_size)
        return Encoded({"int8": quantized.q, "scale": quantized.scale}, quantized.max_error, quantized.max_bound)
    return _encode_halves(weights, storage, where)


def _encode_halves(weights: Weights, storage: str, where: str) -> Encoded:
    """Block by block, so that little is made beside the halves themselves."""
    narrow = _to_fp16 if storage == "fp16" else _to_bf16
    flat = weights.reshape(-1)
    halves = np.empty(flat.shape, np.float16 if storage == "fp16" else np.uint16)
    error = largest = 0.0
    for start in range(0, flat.size, _BLOCK):
        block = flat[start : start + _BLOCK]
        halves[start : start + _BLOCK], wide = narrow(block)
        if not np.isfinite(wide).all():
            flat_index = start + first_index(~np.isfinite(wide))[0]
            index = tuple(int(i) for i in np.unravel_index(flat_index, weights.shape))
            raise WeightError(
                f"{where}: {list(index)}: expected a weight that {storage} can hold, found {weights[index]}", index
            )
        # float32 subtracts numbers this close without rounding
        error = max(error, float(np.abs(block - wide).max()))
        largest = max(largest, float(np.abs(block).max()))
    relative, least = _HALF_BOUNDS[storage]
    bound = max(largest * relative, least) if error else 0.0
    return Encoded({storage: halves.reshape(weights.shape)}, error, bound)


def _to_fp16(weights: Weights) -> tuple[NDArray[np.generic], Weights]:
    """(halves, what they are as float32), to nearest, ties to even."""
    with np.errstate(over="ignore"):
        halves = weights.astype(np.float16)
    return halves, halves.astype(np.float32)


def _to_bf16(weights: Weights) -> tuple[NDArray[np.generic], Weights]:
    """The same: the upper half of a float32, rounded to nearest, ties to even; of finite numbers."""
    bits = weights.view(np.uint32)
    halves = (bits + (0x7FFF + (bits >> 16 & 1))) >> 16
    return halves.astype(np.uint16), (halves << 16).view(np.float32)
