"""A model's pass in numpy float32, token after token, by either arithmetic: what is computed and rounded where.

Slow and literal, and without code of the C reader. It has all of v3 but scaled RoPE and GELU.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

import reader_c
from helpers.float32 import F, Row


class ReplayedModel:
    """An arithmetic says how it sums, and which functions it calls."""

    def __init__(self, model: reader_c.Model, *, q8: bool) -> None:
        self.model, self.q8, self.c, self.names = model, q8, model.config, set(model.names)
        self.keys: list[list[Row]] = [[] for _ in range(self.c.n_layers)]
        self.values: list[list[Row]] = [[] for _ in range(self.c.n_layers)]

    # ---- an arithmetic ----

    def product(self, name: str, x: Row) -> Row:
        """A weight matrix with x (in_features,)."""
        raise NotImplementedError

    def mean_square(self, x: Row) -> Row:
        """Of x (n,), a float32."""
        raise NotImplementedError

    def root(self, x: Row) -> Row:
        """The square root of a float32."""
        raise NotImplementedError

    def power(self, base: np.float32, exponent: np.float32) -> np.float32:
        """base^exponent"""
        raise NotImplementedError

    def turn(self, angle: np.float32) -> tuple[np.float32, np.float32]:
        """Cosine and sine."""
        raise NotImplementedError

    def log(self, x: float) -> float:
        """ln x in double."""
        raise NotImplementedError

    def sigmoid(self, x: Row) -> Row:
        """Of each element."""
        raise NotImplementedError

    def tanh(self, x: Row) -> Row:
        """Of each element."""
        raise NotImplementedError

    def products_with_keys(self, q: Row, keys: Row) -> Row:
        """q (size,) with keys (positions, size): (positions,)"""
        raise NotImplementedError

    def softmax(self, scores: Row) -> Row:
        """Of (positions,)."""
        raise NotImplementedError

    def mix(self, shares: Row, values: Row) -> Row:
        """shares (positions,) of values (positions, size): (size,)"""
        raise NotImplementedError

    # ---- the model ----

    def weights(self, name: str) -> Row:
        """A tensor as floats."""
        stored = self.model.tensor(name)
        return stored.dequantize() if isinstance(stored, reader_c.QuantizedTensor) else stored

    def _linear(self, name: str, x: Row) -> Row:
        product, bias = self.product(f"{name}.weight", x), f"{name}.bias"
        return product + self.weights(bias) if bias in self.names else product

    def _norm(self, name: str, x: Row) -> Row:
        weight = self.weights(name)
        if self.c.norm_plus_one:
            weight = F(1) + weight
        scale = F(1) / self.root(self.mean_square(x) + F(self.c.norm_eps))
        return weight * (scale * x)

    def step(self, token: int, position: int) -> Row:
        """The next token's logits."""
        c = self.c
        x = self.weights("tok_embeddings.weight")[token]
        if c.embedding_scale != 1:
            x = x * F(c.embedding_scale)
        for number in range(c.n_layers):
            x = self._block(f"layers.{number}.attention", x, lambda h, n=number: self._attention(n, h, position))
            x = self._block(f"layers.{number}.ffn", x, lambda h, n=number: self._feed_forward(n, h))
        x = self._norm("norm.weight", x)
        logits = self.product("tok_embeddings.weight" if c.shared_classifier else "output.weight", x)
        if c.logit_divisor != 1:
            logits = logits / F(c.logit_divisor)
        return self._capped(logits, c.logit_cap)

    def _capped(self, x: Row, cap: float) -> Row:
        return F(cap) * self.tanh(x / F(cap)) if cap else x

    def _block(self, name: str, x: Row, compute: Callable[[Row], Row]) -> Row:
        out = compute(x if self.c.norm_place == "after" else self._norm(f"{name}_norm.weight", x))
        if self.c.norm_place != "before":
            out = self._norm(f"{name}_post_norm.weight", out)
        return x + (out if self.c.residual_scale == 1 else out * F(self.c.residual_scale))

    def _feed_forward(self, number: int, h: Row) -> Row:
        p = f"layers.{number}.feed_forward"
        return self._mixture(p, h) if self.c.layers[number].experts else self._gated(p, h)

    def _gated(self, prefix: str, h: Row) -> Row:
        gate, up = self._linear(f"{prefix}.w1", h), self._linear(f"{prefix}.w3", h)
        return self._linear(f"{prefix}.w2", gate * self.sigmoid(gate) * up)

    def _mixture(self, prefix: str, h: Row) -> Row:
        shares = self.softmax(self._linear(f"{prefix}.router", h))
        by_size = sorted(range(self.c.n_experts), key=lambda expert: -shares[expert])
        chosen = sorted(by_size[: self.c.n_active_experts])
        total, out = F(0), np.zeros_like(h)
        for expert in chosen:
            total = total + shares[expert]
        for expert in chosen:
            share = shares[expert] / total if self.c.experts_normalized else shares[expert]
            out = out + share * self._gated(f"{prefix}.experts.{expert}", h)
        return out

    def _heads(self, number: int, name: str, x: Row) -> Row:
        weight, c = f"layers.{number}.attention.{name}_norm.weight", self.c
        if c.qk_norm == "whole":
            x = self._norm(weight, x)
        heads = x.reshape(-1, c.head_dim)
        return np.stack([self._norm(weight, head) for head in heads]) if c.qk_norm == "head" else heads

    def _rotated(self, number: int, x: Row, position: int) -> Row:
        rope, rotated = self.c.layers[number].rope, self.c.rotary_dim
        if rope == "none":
            return x
        theta = F(self.c.rope_theta if rope == "first" else self.c.local_theta)
        frequencies = [F(1) / self.power(theta, F(i) / F(rotated)) for i in range(0, rotated, 2)]
        factors = self.c.rope_scaling.short_factors if rope == "first" else ()
        if factors:
            frequencies = [F(float(f) * (1.0 / factor)) for f, factor in zip(frequencies, factors, strict=True)]
        turns = [self.turn(F(position) * frequency) for frequency in frequencies]
        scale = F(self.c.rope_scaling.attention_factor) if factors else F(1)
        cosine, sine = (np.array(column, F) * scale for column in zip(*turns, strict=True))
        out = x.copy()
        even, odd = x[:, 0:rotated:2], x[:, 1:rotated:2]
        out[:, 0:rotated:2], out[:, 1:rotated:2] = even * cosine - odd * sine, even * sine + odd * cosine
        return out

    def _query_scale(self, position: int) -> np.float32:
        times = 1.0 + math.floor(position / self.c.query_scale_positions)
        return F(1.0 + self.c.query_scale_beta * self.log(times))

    def _attention(self, number: int, h: Row, position: int) -> Row:
        c, p = self.c, f"layers.{number}.attention"
        q = self._rotated(number, self._heads(number, "q", self._linear(f"{p}.wq", h)), position)
        if c.query_scale_beta:
            q = q * self._query_scale(position)
        k = self._rotated(number, self._heads(number, "k", self._linear(f"{p}.wk", h)), position)
        self.keys[number].append(k)
        self.values[number].append(self._linear(f"{p}.wv", h).reshape(-1, c.head_dim))
        first = max(0, position - c.window + 1) if c.layers[number].windowed else 0
        mixed = []
        for head in range(c.n_heads):
            kv_head = head // (c.n_heads // c.n_kv_heads)
            keys = np.stack([k[kv_head] for k in self.keys[number][first:]])
            values = np.stack([v[kv_head] for v in self.values[number][first:]])
            scores = self.products_with_keys(q[head], keys)
            scores = scores * F(c.score_scale) if c.score_scale else scores / self.root(F(c.head_dim))
            mixed.append(self.mix(self.softmax(self._capped(scores, c.score_cap)), values))
        return self._linear(f"{p}.wo", np.concatenate(mixed))

    def logits(self, tokens: list[int]) -> Row:
        """Of all tokens: (len(tokens), vocab_size)."""
        return np.stack([self.step(token, position) for position, token in enumerate(tokens)])
