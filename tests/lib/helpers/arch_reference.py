"""The forward pass of any v3 model in float64, by docs/format-v3.md alone and as plainly as numpy can say it."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from helpers.arch_files import Arch

Array = NDArray[np.float64]


def frequencies(a: Arch, rope: str) -> Array:
    """How far each pair turns from one position to the next."""
    i = np.arange(a.rotated // 2)
    if rope == "second":
        return np.asarray(a.local_theta ** (-2.0 * i / a.rotated))
    t, s = a.rope_theta ** (-2.0 * i / a.rotated), a.scaling
    if s.type in ("none", "dynamic"):
        return np.asarray(t)
    if s.type == "linear":
        return np.asarray(t / s.factor)
    if s.type == "longrope":
        return np.asarray(t / np.array(s.short_factors))
    if s.type == "llama3":
        turns = s.original_max_positions * t / (2 * math.pi)
        kept = (turns - s.low_freq_factor) / (s.high_freq_factor - s.low_freq_factor)
    else:
        low, high = (_pair(a, beta) for beta in (s.beta_fast, s.beta_slow))
        if s.truncate:
            low, high = math.floor(low), math.ceil(high)
        low, high = max(low, 0), min(high, a.rotated - 1)
        kept = 1 - (i - low) / (high - low + (0.001 if low == high else 0))
    kept = np.clip(kept, 0, 1)
    return np.asarray(t * (kept + (1 - kept) / s.factor))


def _pair(a: Arch, turns: float) -> float:
    length = a.scaling.original_max_positions / (turns * 2 * math.pi)
    return a.rotated * math.log(length) / (2 * math.log(a.rope_theta))


def erf(x: Array) -> Array:
    return np.vectorize(math.erf, otypes=[np.float64])(x)


GATES: dict[str, Callable[[Array], Array]] = {
    "silu": lambda x: x * np.exp(-np.logaddexp(0, -x)),
    "gelu": lambda x: x * (1 + erf(x / math.sqrt(2))) / 2,
    "gelu_tanh": lambda x: x * (1 + np.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3))) / 2,
}


@dataclass
class Reference:
    """A model's pass; `at` holds every point that its trace has: (layer or None, name) to values."""

    a: Arch
    weights: Mapping[str, NDArray[np.float32]]
    at: dict[tuple[int | None, str], Array] = field(default_factory=dict)

    def _w(self, name: str) -> Array:
        return self.weights[name].astype(np.float64)

    def _keep(self, layer: int | None, name: str, value: Array) -> Array:
        self.at[layer, name] = value.copy()
        return value

    def _norm(self, x: Array, name: str) -> Array:
        scale = 1 / np.sqrt((x * x).mean(-1, keepdims=True) + self.a.norm_eps)
        return np.asarray(x * scale * (self._w(name) + float(self.a.norm_plus_one)))

    def _linear(self, x: Array, name: str) -> Array:
        y = x @ self._w(f"{name}.weight").T
        return y + self._w(f"{name}.bias") if f"{name}.bias" in self.weights else y

    def logits(self, tokens: Sequence[int]) -> Array:
        a = self.a
        x = self._keep(None, "embedding", self._w("tok_embeddings.weight")[list(tokens)] * a.embedding_scale)
        for layer in range(a.n_layers):
            x = self._block(layer, x, "attention", self._attention)
            x = self._block(layer, x, "ffn", self._feed_forward)
        h = self._keep(None, "final_norm", self._norm(x, "norm.weight"))
        logits = h @ self._w("tok_embeddings.weight" if a.tied else "output.weight").T
        if a.logit_divisor != 1 or a.logit_cap:
            self._keep(None, "classified", logits)
        logits = logits / a.logit_divisor
        return self._keep(None, "logits", self._capped(logits, a.logit_cap))

    @staticmethod
    def _capped(x: Array, cap: float) -> Array:
        return cap * np.tanh(x / cap) if cap else x

    def _block(self, layer: int, x: Array, block: str, compute: Callable[[int, Array], Array]) -> Array:
        h, prefix = x, f"layers.{layer}.{block}"
        if self.a.norm_place != "after":
            h = self._keep(layer, f"{block}_norm", self._norm(x, f"{prefix}_norm.weight"))
        out = compute(layer, h)
        if self.a.norm_place != "before":
            out = self._keep(layer, f"{block}_post_norm", self._norm(out, f"{prefix}_post_norm.weight"))
        return self._keep(layer, f"{block}_residual", x + out * self.a.residual_scale)

    def _feed_forward(self, layer: int, h: Array) -> Array:
        p = f"layers.{layer}.feed_forward"
        if self.a.mixed(layer):
            return self._mixture(layer, h, p)
        gate = self._keep(layer, "gate", self._linear(h, f"{p}.w1"))
        up = self._keep(layer, "up", self._linear(h, f"{p}.w3"))
        gated = self._keep(layer, "gated", GATES[self.a.gate](gate) * up)
        return self._keep(layer, "down", self._linear(gated, f"{p}.w2"))

    def _mixture(self, layer: int, h: Array, p: str) -> Array:
        a = self.a
        logits = self._keep(layer, "router", self._linear(h, f"{p}.router"))
        powers = np.exp(logits - logits.max(-1, keepdims=True))
        shares = powers / powers.sum(-1, keepdims=True)
        # a stable sort leaves equal shares in the order of their experts
        chosen = np.sort(np.argsort(-shares, axis=-1, kind="stable")[:, : a.n_active_experts], axis=-1)
        kept = np.zeros_like(shares)
        np.put_along_axis(kept, chosen, np.take_along_axis(shares, chosen, -1), -1)
        if a.experts_normalized:
            kept /= kept.sum(-1, keepdims=True)
        self._keep(layer, "routed", kept)
        at: dict[str, list[Array]] = {"gate": [], "up": [], "gated": [], "down": []}
        out = np.zeros_like(h)
        for t, experts in enumerate(chosen):
            for rows in at.values():
                rows.append(np.empty(0))
            for expert in experts:
                gate, up = (self._linear(h[t], f"{p}.experts.{expert}.{w}") for w in ("w1", "w3"))
                gated = GATES[a.gate](gate) * up
                down = self._linear(gated, f"{p}.experts.{expert}.w2")
                for name, value in (("gate", gate), ("up", up), ("gated", gated), ("down", down)):
                    at[name][t] = np.concatenate([at[name][t], value])
                out[t] += kept[t, expert] * down
        for name, rows in at.items():
            self._keep(layer, f"expert_{name}", np.stack(rows))
        return self._keep(layer, "down", out)

    def _heads(self, layer: int, name: str, x: Array, heads: int) -> Array:
        """Normed, if they are: (n, heads, head_dim)."""
        a, n = self.a, len(x)
        weight = f"layers.{layer}.attention.{name}_norm.weight"
        if a.qk_norm == "head":
            x = self._norm(x.reshape(n, heads, a.head_dim), weight)
        elif a.qk_norm == "whole":
            x = self._norm(x, weight)
        if a.qk_norm != "none":
            self._keep(layer, f"{name}_normed", x.reshape(n, -1))
        return x.reshape(n, heads, a.head_dim)

    def _rotated(self, layer: int, name: str, x: Array, rope: str) -> Array:
        a, n = self.a, len(x)
        factor = a.scaling.attention_factor if rope == "first" and a.scaling.type in ("yarn", "longrope") else 1.0
        angle = np.arange(n)[:, None] * frequencies(a, rope)
        cos = self._keep(layer, "cosine", np.cos(angle) * factor)[:, None]
        sin = self._keep(layer, "sine", np.sin(angle) * factor)[:, None]
        even, odd = x[..., 0 : a.rotated : 2], x[..., 1 : a.rotated : 2]
        turned = x.copy()
        turned[..., 0 : a.rotated : 2] = even * cos - odd * sin
        turned[..., 1 : a.rotated : 2] = even * sin + odd * cos
        self._keep(layer, f"{name}_rotated", turned.reshape(n, -1))
        return turned

    def _attention(self, layer: int, h: Array) -> Array:
        a, n, p = self.a, len(h), f"layers.{layer}.attention"
        windowed, rope = a.kinds[layer]
        q = self._heads(layer, "q", self._keep(layer, "q", self._linear(h, f"{p}.wq")), a.n_heads)
        k = self._heads(layer, "k", self._keep(layer, "k", self._linear(h, f"{p}.wk")), a.n_kv_heads)
        v = self._keep(layer, "v", self._linear(h, f"{p}.wv")).reshape(n, a.n_kv_heads, a.head_dim)
        if rope != "none":
            q, k = self._rotated(layer, "q", q, rope), self._rotated(layer, "k", k, rope)
        if a.query_scale_beta:
            times = np.arange(n) // a.query_scale_positions
            q = q * (1 + a.query_scale_beta * np.log(1 + times))[:, None, None]
            self._keep(layer, "q_scaled", q.reshape(n, -1))
        k, v = (np.repeat(x, a.n_heads // a.n_kv_heads, axis=1) for x in (k, v))
        scores = np.einsum("ihd,jhd->ihj", q, k) * (a.score_scale or 1 / math.sqrt(a.head_dim))
        back = np.arange(n)[:, None] - np.arange(n)
        seen = ((back >= 0) & (back < (a.window if windowed else n)))[:, None]
        if a.score_cap:
            self._keep(layer, "scores_raw", np.where(seen, scores, 0))
        scores = self._capped(scores, a.score_cap)
        self._keep(layer, "scores", np.where(seen, scores, 0))
        visible = np.where(seen, scores, -np.inf)
        powers = np.exp(visible - visible.max(-1, keepdims=True))
        shares = self._keep(layer, "shares", powers / powers.sum(-1, keepdims=True))
        attended = self._keep(layer, "attended", np.einsum("ihj,jhd->ihd", shares, v).reshape(n, -1))
        return self._keep(layer, "wo", self._linear(attended, f"{p}.wo"))
