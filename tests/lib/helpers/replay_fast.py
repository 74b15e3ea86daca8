"""`fast` again, as docs/arithmetic.md defines it: numpy float32, one call of the C library's fma for a fused step.

Slow and literal, without blocks, tiles or threads, and without code of the C reader.
"""

from __future__ import annotations

import ctypes
import ctypes.util
import math

import numpy as np

import reader_c
from helpers.float32 import F, Row, call, quantize_activations, quantized_dot
from helpers.replay_model import ReplayedModel

_libm = ctypes.CDLL(ctypes.util.find_library("m"))
_libm.fma.restype, _libm.fma.argtypes = ctypes.c_double, [ctypes.c_double] * 3


def _hex(text: str) -> np.float32:
    return F(float.fromhex(text))


def fma(a: Row, b: Row, c: Row) -> Row:
    """Elementwise, one rounding."""
    return call("fmaf", *np.broadcast_arrays(a, b, c))


def in_lanes(x: Row) -> Row:
    """(..., n) as (..., steps, 16), zeros behind the last."""
    padded = np.zeros((*x.shape[:-1], -(-x.shape[-1] // 16) * 16), F)
    padded[..., : x.shape[-1]] = x
    return padded.reshape(*x.shape[:-1], -1, 16)


def tree(lanes: Row) -> Row:
    """16 lanes to one: l and l + 8, l + 4, l + 2, l + 1."""
    for width in (8, 4, 2, 1):
        lanes = lanes[..., :width] + lanes[..., width : 2 * width]
    return lanes[..., 0]


def dot(w: Row, x: Row) -> Row:
    """Over the last axis of w (..., n) and x (n,)."""
    rows, inputs = in_lanes(w), in_lanes(x)
    sums = np.zeros((*w.shape[:-1], 16), F)
    for step in range(rows.shape[-2]):
        sums = fma(rows[..., step, :], inputs[step], sums)
    return tree(sums)


def chain(a: Row, b: Row) -> Row:
    """Fused steps in index order over the last axis, from zero."""
    total = np.zeros(np.broadcast_shapes(a.shape, b.shape)[:-1], F)
    for j in range(a.shape[-1]):
        total = fma(a[..., j], b[..., j], total)
    return total


def _reduced(x: Row) -> tuple[Row, Row]:
    """n and r of x = n ln 2 + r."""
    magic = _hex("0x1.8p+23")
    n = fma(x, _hex("0x1.715476p+0"), magic) - magic
    r = fma(n, -_hex("0x1.62e4p-1"), x)
    return n, fma(n, -_hex("0x1.7f7d1cp-20"), r)


def _series(r: Row, divisors: tuple[int, ...]) -> Row:
    p = np.full_like(r, F(1) / F(divisors[0]))
    for k in divisors[1:]:
        p = fma(p, r, F(1) / F(k))
    return p


def exponential(x: Row) -> Row:
    """e^x"""
    n, r = _reduced(np.where(x < -150, F(-150), np.where(x > 130, F(130), x)).astype(F))
    p = _series(r, (5040, 720, 120, 24, 6, 2, 1, 1))
    whole = np.nan_to_num(n).astype(np.int64)
    half = whole >> 1
    with np.errstate(over="ignore", under="ignore"):
        return p * np.exp2(half).astype(F) * np.exp2(whole - half).astype(F)


def hyperbolic_tangent(y: Row) -> Row:
    """tanh y"""
    n, r = _reduced(F(-2) * np.minimum(np.abs(y), F(10)))
    q = fma(r * r, _series(r, (5040, 720, 120, 24, 6, 2)), r)
    power_of_two = np.exp2(np.nan_to_num(n)).astype(F)
    m = fma(power_of_two, q, power_of_two - F(1))
    return np.copysign(m / (F(2) + m), y)


def softmax(scores: Row) -> Row:
    powers = exponential(scores - scores.max())
    sums = np.zeros(16, F)
    for step in in_lanes(powers):
        sums = sums + step
    return powers / tree(sums)


# ---- double precision, for RoPE ----


def logarithm(x: float) -> float:
    """ln x"""
    mantissa, exponent = math.frexp(x)
    mantissa, exponent = 2 * mantissa, exponent - 1
    if mantissa > float.fromhex("0x1.6a09e667f3bcdp+0"):
        mantissa, exponent = mantissa / 2, exponent + 1
    s = (mantissa - 1) / (mantissa + 1)
    total = 0.0
    for k in range(23, 0, -2):
        total = _libm.fma(total, s * s, 1 / k)
    low = _libm.fma(exponent, float.fromhex("0x1.abc9e3b39803fp-56"), 2 * s * total)
    return float(_libm.fma(exponent, float.fromhex("0x1.62e42fefa39efp-1"), low))


def _exp(y: float) -> float:
    n = round(y * float.fromhex("0x1.71547652b82fep+0"))
    r = _libm.fma(-n, float.fromhex("0x1.62e42fefa39efp-1"), y)
    r = _libm.fma(-n, float.fromhex("0x1.abc9e3b39803fp-56"), r)
    total = 1.0
    for k in range(14, 0, -1):
        total = _libm.fma(total, r / k, 1.0)
    return math.ldexp(total, n)


def power(base: np.float32, exponent: np.float32) -> np.float32:
    return F(_exp(float(exponent) * logarithm(float(base))))


def turn(angle: np.float32) -> tuple[np.float32, np.float32]:
    """Cosine and sine."""
    k = round(float(angle) * float.fromhex("0x1.45f306dc9c883p-1"))
    r = _libm.fma(-k, float.fromhex("0x1.921fb54442d18p+0"), float(angle))
    r = _libm.fma(-k, float.fromhex("0x1.1a62633145c07p-54"), r)
    s = c = 1.0
    for n in range(16, 0, -2):
        s = _libm.fma(s, -(r * r) / (n * (n + 1)), 1.0)
        c = _libm.fma(c, -(r * r) / (n * (n - 1)), 1.0)
    s *= r
    cosine, sine = ((c, s), (-s, c), (-c, -s), (s, -c))[k % 4]
    return F(cosine), F(sine)


# ---- a model ----


class Replay(ReplayedModel):
    """`fast`."""

    def product(self, name: str, x: Row) -> Row:
        stored = self.model.tensor(name)
        if not self.q8 or not isinstance(stored, reader_c.QuantizedTensor):
            return dot(self.weights(name), x)
        groups = [quantize_activations(group) for group in x.reshape(-1, stored.group_size)]
        q = np.stack([group[0] for group in groups]).astype(np.int32)
        scales = np.array([group[1] for group in groups], F)
        rows = stored.q.reshape(len(stored.q), *q.shape).astype(np.int32)
        sums = (rows * q).sum(axis=-1)
        return np.array([quantized_dot(*row, scales) for row in zip(sums, stored.scale, strict=True)], F)

    def mean_square(self, x: Row) -> Row:
        return dot(x, x) / F(len(x))

    def root(self, x: Row) -> Row:
        return np.sqrt(x)

    def power(self, base: np.float32, exponent: np.float32) -> np.float32:
        return power(base, exponent)

    def turn(self, angle: np.float32) -> tuple[np.float32, np.float32]:
        return turn(angle)

    def log(self, x: float) -> float:
        return logarithm(x)

    def sigmoid(self, x: Row) -> Row:
        return F(1) / (F(1) + exponential(-x))

    def tanh(self, x: Row) -> Row:
        return hyperbolic_tangent(x)

    def products_with_keys(self, q: Row, keys: Row) -> Row:
        return chain(q, keys)

    def softmax(self, scores: Row) -> Row:
        return softmax(scores)

    def mix(self, shares: Row, values: Row) -> Row:
        return chain(shares, values.T)


def replay(model: reader_c.Model, tokens: list[int], *, q8: bool) -> Row:
    """Logits (len(tokens), vocab_size)."""
    return Replay(model, q8=q8).logits(tokens)
