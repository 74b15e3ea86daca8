"""runq.c's and run.c's arithmetic again, in numpy float32 scalars and the C library's own functions.

Slow and literal: one rounding for each operation, in the order that the engines have. It shares no code
with the C reader. Of what v3 adds it has all but scaled RoPE and GELU.
"""

from __future__ import annotations

import ctypes
import ctypes.util

import numpy as np

import reader_c

_libm = ctypes.CDLL(ctypes.util.find_library("m"))
for _name in ("expf", "cosf", "sinf", "sqrtf"):
    getattr(_libm, _name).restype = ctypes.c_float
    getattr(_libm, _name).argtypes = [ctypes.c_float]
_libm.powf.restype, _libm.powf.argtypes = ctypes.c_float, [ctypes.c_float, ctypes.c_float]

F = np.float32


def _call(name: str, *values: float) -> np.float32:
    return F(getattr(_libm, name)(*map(float, values)))


def _sum_in_order(products: np.ndarray) -> np.ndarray:
    """Sum over the last axis, element after element: cumsum in float32 rounds at each step."""
    return np.cumsum(products, axis=-1, dtype=np.float32)[..., -1]


def _round_half_away(x: np.ndarray) -> np.ndarray:
    magnitude = np.floor(np.abs(x).astype(np.float64) + 0.5)
    return np.copysign(magnitude, x)


class Replay:
    """One model, one token after the other."""

    def __init__(self, model: reader_c.Model, *, q8: bool) -> None:
        self.model, self.q8, self.c, self.names = model, q8, model.config, set(model.names)
        self.keys: list[list[np.ndarray]] = [[] for _ in range(self.c.n_layers)]
        self.values: list[list[np.ndarray]] = [[] for _ in range(self.c.n_layers)]

    def _matmul(self, name: str, x: np.ndarray) -> np.ndarray:
        product = self._product(name, x)
        bias = name.replace(".weight", ".bias")
        return product + self.model.tensor(bias) if bias in self.names else product

    def _product(self, name: str, x: np.ndarray) -> np.ndarray:
        stored = self.model.tensor(name)
        if not self.q8 or not isinstance(stored, reader_c.QuantizedTensor):
            w = stored.dequantize() if isinstance(stored, reader_c.QuantizedTensor) else stored
            return _sum_in_order(w * x)
        groups = x.reshape(-1, stored.group_size)
        scale = np.abs(groups).max(axis=1) / F(127)
        q = _round_half_away(groups / scale[:, None]).astype(np.int32)
        w = stored.q.reshape(len(stored.q), *groups.shape).astype(np.int32)
        integers = (w * q).sum(axis=-1).astype(np.float32)
        return _sum_in_order(integers * np.array(stored.scale) * scale)

    def _norm(self, name: str, x: np.ndarray) -> np.ndarray:
        weight = self.model.tensor(name)
        assert isinstance(weight, np.ndarray)
        s = _sum_in_order(x * x) / F(len(x)) + F(self.c.norm_eps)
        s = F(1) / _call("sqrtf", s)
        return weight * (s * x)

    def step(self, token: int, position: int) -> np.ndarray:
        c = self.c
        size = c.head_dim
        embedding = self.model.tensor("tok_embeddings.weight")
        x = np.array(
            (embedding.dequantize() if isinstance(embedding, reader_c.QuantizedTensor) else embedding)[token]
        )
        turns = []
        for i in range(0, size, 2):
            frequency = F(1) / _call("powf", F(c.rope_theta), F(i) / F(size))
            angle = F(position) * frequency
            turns.append((_call("cosf", angle), _call("sinf", angle)))
        cosine, sine = (np.array(column, F) for column in zip(*turns, strict=True))

        def rotate(v: np.ndarray) -> np.ndarray:
            pairs = v.reshape(-1, size // 2, 2)
            even, odd = pairs[..., 0], pairs[..., 1]
            return np.stack((even * cosine - odd * sine, even * sine + odd * cosine), axis=-1).reshape(-1, size)

        for number in range(c.n_layers):
            layer = f"layers.{number}."
            h = self._norm(f"{layer}attention_norm.weight", x)
            q = rotate(self._matmul(f"{layer}attention.wq.weight", h))
            self.keys[number].append(rotate(self._matmul(f"{layer}attention.wk.weight", h)))
            self.values[number].append(self._matmul(f"{layer}attention.wv.weight", h).reshape(-1, size))
            mixed = np.concatenate([self._attend(number, head, q[head]) for head in range(c.n_heads)])
            x = x + self._matmul(f"{layer}attention.wo.weight", mixed)
            h = self._norm(f"{layer}ffn_norm.weight", x)
            gate, up = (self._matmul(f"{layer}feed_forward.{name}.weight", h) for name in ("w1", "w3"))
            sigmoid = np.array([F(1) / (F(1) + _call("expf", -g)) for g in gate], F)
            x = x + self._matmul(f"{layer}feed_forward.w2.weight", gate * sigmoid * up)
        x = self._norm("norm.weight", x)
        return self._matmul("tok_embeddings.weight" if c.shared_classifier else "output.weight", x)

    def _attend(self, number: int, head: int, q: np.ndarray) -> np.ndarray:
        kv_head = head // (self.c.n_heads // self.c.n_kv_heads)
        root = _call("sqrtf", F(len(q)))
        scores = np.array([_sum_in_order(q * k[kv_head]) / root for k in self.keys[number]], F)
        shares = np.array([_call("expf", s - scores.max()) for s in scores], F)
        shares = shares / _sum_in_order(shares)
        weighted = np.stack(
            [share * v[kv_head] for share, v in zip(shares, self.values[number], strict=True)], axis=-1
        )
        # the engine starts from zero, which turns a first -0 into 0
        return _sum_in_order(np.concatenate((np.zeros_like(weighted[:, :1]), weighted), axis=1))


def replay(model: reader_c.Model, tokens: list[int], *, q8: bool) -> np.ndarray:
    """Logits (len(tokens), vocab_size)."""
    one = Replay(model, q8=q8)
    return np.stack([one.step(token, position) for position, token in enumerate(tokens)])
