"""runq.c's and run.c's arithmetic again, in numpy float32 scalars and the C library's own functions.

Slow and literal: one rounding for each operation, in the order that the engines have. It shares no code
with the C reader.
"""

from __future__ import annotations

import ctypes
import ctypes.util
import math

import numpy as np

import reader_c
from helpers.float32 import F, Row
from helpers.replay_model import ReplayedModel

_libm = ctypes.CDLL(ctypes.util.find_library("m"))
for _name in ("expf", "cosf", "sinf", "sqrtf", "tanhf"):
    getattr(_libm, _name).restype = ctypes.c_float
    getattr(_libm, _name).argtypes = [ctypes.c_float]
_libm.powf.restype, _libm.powf.argtypes = ctypes.c_float, [ctypes.c_float, ctypes.c_float]


def call(name: str, *values: float) -> np.float32:
    return F(getattr(_libm, name)(*map(float, values)))


def sum_in_order(products: Row) -> Row:
    """Sum over the last axis, element after element: cumsum in float32 rounds at each step."""
    return np.cumsum(products, axis=-1, dtype=np.float32)[..., -1]


def _round_half_away(x: Row) -> np.ndarray:
    magnitude = np.floor(np.abs(x).astype(np.float64) + 0.5)
    return np.copysign(magnitude, x)


class Replay(ReplayedModel):
    """`mirror`."""

    def product(self, name: str, x: Row) -> Row:
        stored = self.model.tensor(name)
        if not self.q8 or not isinstance(stored, reader_c.QuantizedTensor):
            return sum_in_order(self.weights(name) * x)
        groups = x.reshape(-1, stored.group_size)
        scale = np.abs(groups).max(axis=1) / F(127)
        q = _round_half_away(groups / scale[:, None]).astype(np.int32)
        w = stored.q.reshape(len(stored.q), *groups.shape).astype(np.int32)
        integers = (w * q).sum(axis=-1).astype(np.float32)
        return sum_in_order(integers * np.array(stored.scale) * scale)

    def mean_square(self, x: Row) -> Row:
        return sum_in_order(x * x) / F(len(x))

    def root(self, x: Row) -> Row:
        return np.asarray(call("sqrtf", float(x)))

    def power(self, base: np.float32, exponent: np.float32) -> np.float32:
        return call("powf", base, exponent)

    def turn(self, angle: np.float32) -> tuple[np.float32, np.float32]:
        return call("cosf", angle), call("sinf", angle)

    def log(self, x: float) -> float:
        return math.log(x)

    def sigmoid(self, x: Row) -> Row:
        return np.array([F(1) / (F(1) + call("expf", -value)) for value in x], F)

    def tanh(self, x: Row) -> Row:
        return np.array([call("tanhf", value) for value in x], F)

    def products_with_keys(self, q: Row, keys: Row) -> Row:
        return sum_in_order(q * keys)

    def softmax(self, scores: Row) -> Row:
        shares = np.array([call("expf", s - scores.max()) for s in scores], F)
        return shares / sum_in_order(shares)

    def mix(self, shares: Row, values: Row) -> Row:
        weighted = (shares[:, None] * values).T
        # the engine starts from zero, which turns a first -0 into 0
        return sum_in_order(np.concatenate((np.zeros_like(weighted[:, :1]), weighted), axis=1))


def replay(model: reader_c.Model, tokens: list[int], *, q8: bool) -> Row:
    """Logits (len(tokens), vocab_size)."""
    return Replay(model, q8=q8).logits(tokens)
