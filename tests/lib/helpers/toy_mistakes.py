"""More mistakes of the engine in numpy: one class each, which overrides one step of the healthy engine.

Like the engine itself, they share no code with the verifier's reference.
"""

# ruff: noqa: ARG002  # a step gets what any mistake of it may need

from __future__ import annotations

import math
from pathlib import Path

import numpy as np

from helpers.toy_engine import F, Healthy


class _Attending(Healthy):
    """The healthy attention in smaller steps."""

    def shares(self, scores: np.ndarray) -> np.ndarray:
        shares = np.exp(scores - scores.max())
        return shares / shares.sum()

    def joined(self, heads: list[np.ndarray]) -> np.ndarray:
        return np.concatenate(heads)

    def projected(self, wo: np.ndarray, mixed: np.ndarray) -> np.ndarray:
        return wo @ mixed

    def turned(self, x: np.ndarray, position: int, what: str) -> np.ndarray:
        return x if what == "v" else self.rotated(x, position)

    def places(self, layer: int) -> int:
        return layer

    def remembered(self, layer: int, position: int, k: np.ndarray, v: np.ndarray) -> None:
        for cache, new in ((self.keys, k), (self.values, v)):
            place = cache[self.places(layer)]
            place[position:] = [new]

    def attention(self, x: np.ndarray, layer: int, position: int) -> np.ndarray:
        size = self.c.head_dim
        q, k, v = ((self.w[f"layers.{layer}.attention.w{n}.weight"] @ x).reshape(-1, size) for n in "qkv")
        q, k, v = (self.turned(part, position, what) for part, what in ((q, "q"), (k, "k"), (v, "v")))
        self.remembered(layer, position, k, v)
        first, heads = self.first_seen(position, layer), []
        keys, values = (np.stack(cache[self.places(layer)][first:]) for cache in (self.keys, self.values))
        for head in range(self.c.n_heads):
            of = self.kv_head(head)
            heads.append(self.shares((keys[:, of] @ q[head]) * F(self.score_scale())) @ values[:, of])
        return self.projected(self.w[f"layers.{layer}.attention.wo.weight"], self.joined(heads))


class KeysBackwards(_Attending):
    def turned(self, x: np.ndarray, position: int, what: str) -> np.ndarray:
        return x if what == "v" else self.rotated(x, -position if what == "k" else position)


class CosineAndSineExchanged(Healthy):
    def rotated(self, x: np.ndarray, position: int) -> np.ndarray:
        turned = super().rotated(x, -position)
        # a quarter of a turn more in every pair
        return np.stack((-turned[:, 1::2], turned[:, 0::2]), axis=2).reshape(x.shape)


class TurnedTwice(_Attending):
    def turned(self, x: np.ndarray, position: int, what: str) -> np.ndarray:
        return x if what == "v" else self.rotated(self.rotated(x, position), position)


class OneCache(_Attending):
    def places(self, layer: int) -> int:
        return 0


class OneCacheOfValues(_Attending):
    def attention(self, x: np.ndarray, layer: int, position: int) -> np.ndarray:
        self.values = [self.values[0]] * self.c.n_layers
        return super().attention(x, layer, position)


class W2Transposed(Healthy):
    def __init__(self, path: Path) -> None:
        super().__init__(path)
        for name, w in self.w.items():
            if name.endswith("w2.weight"):
                self.w[name] = np.ascontiguousarray(w.ravel().reshape(w.shape[::-1]).T)


class SigmoidOfMinus(Healthy):
    def activated(self, x: np.ndarray) -> np.ndarray:
        return x / (1 + np.exp(x))


class FirstLayersCache(_Attending):
    def remembered(self, layer: int, position: int, k: np.ndarray, v: np.ndarray) -> None:
        if layer == 0:
            super().remembered(layer, position, k, v)

    def places(self, layer: int) -> int:
        return 0


class FirstPositionMissing(_Attending):
    def first_seen(self, position: int, layer: int) -> int:
        return min(position, 1)


class Unfilled(_Attending):
    def shares(self, scores: np.ndarray) -> np.ndarray:
        every = np.zeros(self.c.max_seq_len, F)
        every[: len(scores)] = scores
        return super().shares(every)[: len(scores)]


class OffByOne(_Attending):
    def shares(self, scores: np.ndarray) -> np.ndarray:
        return np.exp(scores) / (1 + np.exp(scores).sum())


class OffByOneOfLargest(_Attending):
    def shares(self, scores: np.ndarray) -> np.ndarray:
        shares = np.exp(scores - scores.max())
        return shares / (1 + shares.sum())


class OffByHalf(_Attending):
    def shares(self, scores: np.ndarray) -> np.ndarray:
        return np.exp(scores) / (F(0.5) + np.exp(scores).sum())


class SecondSign(Healthy):
    def rotated(self, x: np.ndarray, position: int) -> np.ndarray:
        turned, still = super().rotated(x, position), super().rotated(np.zeros_like(x), position)
        still[:, 0::2], still[:, 1::2] = 0, x[:, 1::2]
        still = super().rotated(still, position)
        # x sin + y cos less twice y cos
        turned[:, 1::2] -= 2 * still[:, 1::2]
        return turned


class Int8Cache(Healthy):
    def stored(self, cached: np.ndarray) -> np.ndarray:
        scale = np.abs(cached).max(axis=1, keepdims=True) / F(127)
        return np.rint(cached / scale) * scale


class HardSwish(Healthy):
    def activated(self, x: np.ndarray) -> np.ndarray:
        return x * np.clip(x + 3, 0, 6) / F(6)


class BosBefore(Healthy):
    def logits(self, tokens: np.ndarray) -> np.ndarray:
        return super().logits(np.concatenate(([1], tokens)))[1:]


class TwoBefore(Healthy):
    def logits(self, tokens: np.ndarray) -> np.ndarray:
        return super().logits(np.concatenate(([1, 1], tokens)))[2:]


class Penalised(Healthy):
    def logits(self, tokens: np.ndarray) -> np.ndarray:
        made = super().logits(tokens)
        for position in range(len(tokens)):
            been = np.unique(tokens[: position + 1])
            row = made[position, been]
            made[position, been] = np.where(row > 0, row / F(1.3), row * F(1.3))
        return made


class BranchesHalved(Healthy):
    def __init__(self, path: Path) -> None:
        super().__init__(path)
        for name in self.w:
            if name.endswith(("wo.weight", "w2.weight")):
                self.w[name] = self.w[name] * F(0.5)


class ElementsFirst(_Attending):
    def joined(self, heads: list[np.ndarray]) -> np.ndarray:
        return np.stack(heads, axis=1).ravel()


class WithoutWo(_Attending):
    def projected(self, wo: np.ndarray, mixed: np.ndarray) -> np.ndarray:
        return mixed


class _Turning(Healthy):
    """The healthy rotation with other frequencies."""

    def frequencies(self, heads: int, size: int) -> np.ndarray:
        """(heads, pairs)."""
        raise NotImplementedError

    def rotated(self, x: np.ndarray, position: int) -> np.ndarray:
        angles = position * self.frequencies(*x.shape)
        cosine, sine = np.cos(angles).astype(F), np.sin(angles).astype(F)
        turned = np.empty_like(x)
        turned[:, 0::2] = x[:, 0::2] * cosine - x[:, 1::2] * sine
        turned[:, 1::2] = x[:, 0::2] * sine + x[:, 1::2] * cosine
        return turned


class OverAllHeads(_Turning):
    def frequencies(self, heads: int, size: int) -> np.ndarray:
        return self.theta() ** (-np.arange(0, heads * size, 2) / self.c.dim).reshape(heads, -1)


class OverDim(_Turning):
    def frequencies(self, heads: int, size: int) -> np.ndarray:
        return self.theta() ** (-np.arange(0, size, 2) / self.c.dim)


class ExponentDoubled(_Turning):
    def frequencies(self, heads: int, size: int) -> np.ndarray:
        return self.theta() ** (-2 * np.arange(0, size, 2) / size)


class APairFurther(_Turning):
    def frequencies(self, heads: int, size: int) -> np.ndarray:
        return self.theta() ** (-np.arange(2, size + 2, 2) / size)


class EvenlySpaced(_Turning):
    def frequencies(self, heads: int, size: int) -> np.ndarray:
        return self.theta() ** -np.linspace(0, 1, size // 2)


class HalfTheHead(_Turning):
    def frequencies(self, heads: int, size: int) -> np.ndarray:
        right = self.theta() ** (-np.arange(0, size, 2) / size)
        return np.where(np.arange(size // 2) < size // 4, right, 0)


class EpsilonOutside(Healthy):
    def norm(self, x: np.ndarray, name: str) -> np.ndarray:
        return self.norm_weight(name) * (x / (np.sqrt(np.mean(x * x)) + F(self.epsilon())))


class SumOfSquares(Healthy):
    def norm(self, x: np.ndarray, name: str) -> np.ndarray:
        return self.norm_weight(name) * (x / np.sqrt(np.sum(x * x) + F(self.epsilon())))


class OfLastFfnNorm(Healthy):
    def norm_weight(self, name: str) -> np.ndarray:
        return self.w[f"layers.{self.c.n_layers - 1}.ffn_norm.weight" if name == "norm.weight" else name]


class FirstLayersNorm(Healthy):
    def norm_weight(self, name: str) -> np.ndarray:
        return self.w["layers.0.attention_norm.weight" if ".attention_norm" in name else name]


class NormsSwapped(Healthy):
    def norm_weight(self, name: str) -> np.ndarray:
        swapped = {"attention_norm": "ffn_norm", "ffn_norm": "attention_norm"}
        return self.w[".".join(swapped.get(part, part) for part in name.split("."))]


class PreviousToken(Healthy):
    before = 0

    def embedded(self, token: int, position: int) -> np.ndarray:
        taken, self.before = self.before if position else token, token
        return super().embedded(taken, position)


class _Steps(Healthy):
    """The healthy layers in smaller steps."""

    def attended(self, x: np.ndarray, h: np.ndarray, y: np.ndarray) -> np.ndarray:
        return x + y

    def read_by_ffn(self, before: np.ndarray, x: np.ndarray, at: str) -> np.ndarray:
        return self.norm(x, f"{at}.ffn_norm.weight")

    def gated(self, gate: np.ndarray, up: np.ndarray) -> np.ndarray:
        return self.activated(gate) * up

    def fed(self, x: np.ndarray, h: np.ndarray, y: np.ndarray, layer: int) -> np.ndarray:
        return x + y

    def step(self, token: int, position: int) -> np.ndarray:
        x = self.embedded(token, position)
        for layer in self.layers():
            at, before = f"layers.{layer}", x
            h = self.norm(x, f"{at}.attention_norm.weight")
            x = self.attended(x, h, self.attention(h, layer, position))
            h = self.read_by_ffn(before, x, at)
            w1, w2, w3 = (self.w[f"{at}.feed_forward.w{n}.weight"] for n in "123")
            x = self.fed(x, h, w2 @ self.gated(w1 @ h, w3 @ h), layer)
        classifier = self.w.get("output.weight", self.w["tok_embeddings.weight"])
        return classifier @ self.norm(x, "norm.weight")


class Parallel(_Steps):
    def read_by_ffn(self, before: np.ndarray, x: np.ndarray, at: str) -> np.ndarray:
        return self.norm(before, f"{at}.ffn_norm.weight")


class ParallelOfOneNorm(_Steps):
    def read_by_ffn(self, before: np.ndarray, x: np.ndarray, at: str) -> np.ndarray:
        return self.norm(before, f"{at}.attention_norm.weight")


class NormedResidual(_Steps):
    def attended(self, x: np.ndarray, h: np.ndarray, y: np.ndarray) -> np.ndarray:
        return h + y

    def fed(self, x: np.ndarray, h: np.ndarray, y: np.ndarray, layer: int) -> np.ndarray:
        return h + y


class AttentionAlone(_Steps):
    def attended(self, x: np.ndarray, h: np.ndarray, y: np.ndarray) -> np.ndarray:
        return y


class LastFeedForwardMissing(_Steps):
    def fed(self, x: np.ndarray, h: np.ndarray, y: np.ndarray, layer: int) -> np.ndarray:
        return x if layer == self.c.n_layers - 1 else x + y


class NoUp(_Steps):
    def gated(self, gate: np.ndarray, up: np.ndarray) -> np.ndarray:
        return self.activated(gate)


class NoNormBeforeFfn(_Steps):
    def read_by_ffn(self, before: np.ndarray, x: np.ndarray, at: str) -> np.ndarray:
        return x


# ---- what is near one of these, but none of them ----


class HalfATurnMore(_Attending):
    """Turns by one and a half times the angle."""

    def turned(self, x: np.ndarray, position: int, what: str) -> np.ndarray:
        return x if what == "v" else self.rotated(x, 1.5 * position)  # type: ignore[arg-type]


class TwoLayersShare(_Attending):
    def places(self, layer: int) -> int:
        return layer // 2


class ParallelInOneLayer(_Steps):
    def read_by_ffn(self, before: np.ndarray, x: np.ndarray, at: str) -> np.ndarray:
        return self.norm(before if at == "layers.1" else x, f"{at}.ffn_norm.weight")


class HalfTheEpsilonOutside(Healthy):
    def norm(self, x: np.ndarray, name: str) -> np.ndarray:
        half = F(self.epsilon() / 2)
        return self.norm_weight(name) * (x / (np.sqrt(np.mean(x * x) + half) + half))


class MeanNorm(Healthy):
    """Divides by the mean magnitude."""

    def norm(self, x: np.ndarray, name: str) -> np.ndarray:
        return self.norm_weight(name) * (x / np.abs(x).mean())


class MixedNorm(Healthy):
    def norm_weight(self, name: str) -> np.ndarray:
        other = self.w["layers.0.ffn_norm.weight"]
        return F(math.sqrt(0.5)) * (self.w[name] + other) if name == "norm.weight" else self.w[name]
