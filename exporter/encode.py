"""Encode a float32 tensor as a file stores it: float32, half precision or Q8_0."""

from __future__ import annotations

from collections.abc import Callable
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


Advance = Callable[[int], None]


class Encoded(NamedTuple):
    """An encoded tensor.

    parts: arrays by part name ("fp32", "fp16", "bf16", or "int8" and "scale"), bfloat16 as its bits in uint16.
    max_error: the largest |w - stored|, exactly. bound: a proved limit of max_error.
    """

    parts: dict[str, NDArray[np.generic]]
    max_error: float
    bound: float


def encode(
    weights: Weights, storage: str, group_size: int, where: str, advance: Advance = lambda _elements: None
) -> Encoded:
    """Encode weights as "fp32", "fp16", "bf16" or "q8_0" (in groups of group_size along a row).

    weights: finite. where: the tensor's name, for messages. advance: receives how many more elements are done.
    Raises WeightError where a finite weight would become infinite, FormatError where group_size does not divide the
    rows.
    """
    if storage == "fp32":
        return Encoded({"fp32": weights}, 0.0, 0.0)
    if storage == "q8_0":
        quantized = quantize_q80(weights, group_size, advance)
        return Encoded({"int8": quantized.q, "scale": quantized.scale}, quantized.max_error, quantized.max_bound)
    return _encode_halves(weights, storage, where, advance)


def _encode_halves(weights: Weights, storage: str, where: str, advance: Advance) -> Encoded:
    """Narrow block by block, so that little memory is used beside the result."""
    narrow = to_fp16 if storage == "fp16" else to_bf16
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
                f"{where}: {list(index)}: expected a weight that {storage} can hold, found {weights[index]}; "
                "choose another storage for this tensor",
                index,
            )
        # float32 subtracts numbers this close without rounding
        error = max(error, float(np.abs(block - wide).max()))
        largest = max(largest, float(np.abs(block).max()))
        advance(block.size)
    relative, least = _HALF_BOUNDS[storage]
    bound = max(largest * relative, least) if error else 0.0
    return Encoded({storage: halves.reshape(weights.shape)}, error, bound)


def to_fp16(weights: Weights) -> tuple[NDArray[np.generic], Weights]:
    """Round to float16, to nearest, ties to even. Returns (float16, the same numbers as float32)."""
    with np.errstate(over="ignore"):
        halves = weights.astype(np.float16)
    return halves, halves.astype(np.float32)


def to_bf16(weights: Weights) -> tuple[NDArray[np.generic], Weights]:
    """Round finite weights to bfloat16, to nearest, ties to even. Returns (bits in uint16, the numbers as float32).

    A bfloat16 is the upper half of a float32.
    """
    bits = weights.view(np.uint32)
    halves = (bits + (0x7FFF + (bits >> 16 & 1))) >> 16
    return halves.astype(np.uint16), (halves << 16).view(np.float32)
