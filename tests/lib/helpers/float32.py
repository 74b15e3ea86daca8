"""The engine's operations again, in numpy float32 and the C library's own functions: one rounding an operation, in
the order that reader_c/src/mirror_*.c have. It shares no code with the C reader."""

from __future__ import annotations

import ctypes
import ctypes.util

import numpy as np
from numpy.typing import NDArray

Row = NDArray[np.float32]
F = np.float32

_libm = ctypes.CDLL(ctypes.util.find_library("m"))
_ARGUMENTS = {"expf": 1, "erfcf": 1, "tanhf": 1, "cosf": 1, "sinf": 1, "powf": 2, "fmaf": 3}
for _name, _arguments in _ARGUMENTS.items():
    getattr(_libm, _name).restype = ctypes.c_float
    getattr(_libm, _name).argtypes = [ctypes.c_float] * _arguments


def call(name: str, *arguments: Row | np.float32) -> Row:
    """A float function of the C library, elementwise."""
    function = getattr(_libm, name)
    flat = [np.ravel(a).tolist() for a in np.broadcast_arrays(*arguments)]
    return np.array([function(*values) for values in zip(*flat, strict=True)], F).reshape(np.shape(arguments[0]))


def sum_in_order(values: Row) -> np.float32:
    """From zero: cumsum in float32 rounds at each step."""
    return F(np.cumsum(values, dtype=F)[-1])


def dot_mirror(a: Row, b: Row) -> np.float32:
    return sum_in_order(a * b)


def dot_fast(a: Row, b: Row) -> np.float32:
    lanes = np.zeros(16, F)
    for start in range(0, len(a), 16):
        x, y = a[start : start + 16], b[start : start + 16]
        lanes[: len(x)] = call("fmaf", x, y, lanes[: len(x)])
    for width in (8, 4, 2, 1):
        lanes[:width] += lanes[width : 2 * width]
    return F(lanes[0])


def dot_chain(a: Row, b: Row) -> np.float32:
    """Fused steps in index order: attention's sums in `fast`."""
    total = F(0)
    for x, y in zip(a, b, strict=True):
        total = F(_libm.fmaf(float(x), float(y), float(total)))
    return total


def quantize_activations(x: Row) -> tuple[NDArray[np.int8], np.float32]:
    """One group of finite numbers."""
    scale = F(np.abs(x).max() / F(127))
    if scale == 0:
        return np.zeros(len(x), np.int8), scale
    quotient = (x / scale).astype(np.float64)
    away = np.copysign(np.floor(np.abs(quotient) + 0.5), quotient)
    return np.clip(away, -127, 127).astype(np.int8), scale


def quantized_dot(integers: NDArray[np.int32], weight_scales: Row, scales: Row) -> np.float32:
    """integers: each group's sum of products."""
    return sum_in_order(integers.astype(F) * weight_scales * scales)


def rms_norm(x: Row, weight: Row, eps: np.float32) -> Row:
    scale = F(1) / np.sqrt(dot_mirror(x, x) / F(len(x)) + eps)
    return weight * (scale * x)


def softmax(scores: Row) -> Row:
    powers = call("expf", scores - scores.max())
    return powers / sum_in_order(powers)


def mixture(shares: Row, values: Row) -> np.float32:
    """One element of attention's output."""
    return dot_mirror(shares, values)


def _sigmoid(x: Row) -> Row:
    return F(1) / (F(1) + call("expf", -x))


def gated(gate: Row, up: Row, activation: str) -> Row:
    if activation == "silu":
        return gate * _sigmoid(gate) * up
    if activation == "gelu":
        return F(0.5) * gate * call("erfcf", -gate * F(0.5**0.5)) * up
    inner = F(2 * (2 / np.pi) ** 0.5) * (gate + F(0.044715) * gate * gate * gate)
    return gate * _sigmoid(inner) * up


def rope_frequencies(theta: float, head_dim: int, ratios: NDArray[np.float64]) -> Row:
    """ratios: what scaling makes of each, 1 where it makes nothing."""
    exponents = np.arange(0, head_dim, 2).astype(F) / F(head_dim)
    unscaled = F(1) / call("powf", np.full_like(exponents, theta), exponents)
    return (unscaled.astype(np.float64) * ratios).astype(F)


def rope_row(position: int, frequencies: Row, factor: float) -> tuple[Row, Row]:
    """Cosines and sines."""
    angles = F(position) * frequencies
    return call("cosf", angles) * F(factor), call("sinf", angles) * F(factor)


def rotated(a: Row, b: Row, cosine: Row, sine: Row) -> tuple[Row, Row]:
    return a * cosine - b * sine, a * sine + b * cosine
