"""A user's engine in numpy, token by token with a KV cache, healthy or with one mistake.

    python -m helpers.toy_engine CLASS FILE TOKENS LOGITS

It shares no code with the verifier's reference. Each mistake is a class that overrides one step of the healthy one.
"""

# ruff: noqa: ARG002  # a step gets what any mistake of it may need

from __future__ import annotations

import math
import sys
from pathlib import Path

import numpy as np

import reader_c

F = np.float32


class Healthy:
    """The right computation in float32."""

    def __init__(self, path: Path) -> None:
        with reader_c.open(path) as model:
            self.c = model.config
            self.w = {name: _floats(model, name) for name in model.names}
        self.keys: list[list[np.ndarray]] = [[] for _ in range(self.c.n_layers)]
        self.values: list[list[np.ndarray]] = [[] for _ in range(self.c.n_layers)]

    # ---- steps that a mistake overrides ----

    def embedded(self, token: int, position: int) -> np.ndarray:
        return self.w["tok_embeddings.weight"][token]

    def norm_weight(self, name: str) -> np.ndarray:
        return self.w[name]

    def angle_position(self, position: int, what: str) -> int:
        return position

    def pairs(self, size: int) -> tuple[np.ndarray, np.ndarray]:
        return np.arange(0, size, 2), np.arange(1, size, 2)

    def stored(self, cached: np.ndarray) -> np.ndarray:
        return cached

    def cache(self, cached: list[np.ndarray], what: str) -> np.ndarray:
        return np.stack(cached)

    def kv_head(self, head: int) -> int:
        return head // (self.c.n_heads // self.c.n_kv_heads)

    def score_scale(self) -> float:
        return 1 / math.sqrt(self.c.head_dim)

    def first_seen(self, position: int, layer: int) -> int:
        return 0

    def layers(self) -> range:
        return range(self.c.n_layers)

    def epsilon(self) -> float:
        return self.c.norm_eps

    def theta(self) -> float:
        return float(self.c.rope_theta)

    def activated(self, x: np.ndarray) -> np.ndarray:
        return x / (1 + np.exp(-x))

    def finished(self, logits: np.ndarray, token: int, position: int) -> np.ndarray:
        return logits

    # ---- the pass ----

    def norm(self, x: np.ndarray, name: str) -> np.ndarray:
        return self.norm_weight(name) * (x / np.sqrt(np.mean(x * x) + F(self.epsilon())))

    def rotated(self, x: np.ndarray, position: int) -> np.ndarray:
        size = self.c.head_dim
        frequencies = 1 / self.theta() ** (np.arange(0, size, 2) / size)
        cosine, sine = (f(position * frequencies).astype(F) for f in (np.cos, np.sin))
        first, second = self.pairs(size)
        turned = np.empty_like(x)
        turned[:, first] = x[:, first] * cosine - x[:, second] * sine
        turned[:, second] = x[:, first] * sine + x[:, second] * cosine
        return turned

    def attention(self, x: np.ndarray, layer: int, position: int) -> np.ndarray:
        q, k, v = ((self.w[f"layers.{layer}.attention.w{n}.weight"] @ x).reshape(-1, self.c.head_dim) for n in "qkv")
        q = self.rotated(q, self.angle_position(position, "q"))
        k = self.rotated(k, self.angle_position(position, "k"))
        self.keys[layer].append(self.stored(k))
        self.values[layer].append(self.stored(v))
        keys, values = self.cache(self.keys[layer], "k"), self.cache(self.values[layer], "v")
        first, heads = self.first_seen(position, layer), []
        for head in range(self.c.n_heads):
            of = self.kv_head(head)
            scores = (keys[first:, of] @ q[head]) * F(self.score_scale())
            shares = np.exp(scores - scores.max())
            heads.append((shares / shares.sum()) @ values[first:, of])
        return self.w[f"layers.{layer}.attention.wo.weight"] @ np.concatenate(heads)

    def step(self, token: int, position: int) -> np.ndarray:
        x = self.embedded(token, position)
        for layer in self.layers():
            at = f"layers.{layer}"
            x = x + self.attention(self.norm(x, f"{at}.attention_norm.weight"), layer, position)
            h = self.norm(x, f"{at}.ffn_norm.weight")
            w1, w2, w3 = (self.w[f"{at}.feed_forward.w{n}.weight"] for n in "123")
            x = x + w2 @ (self.activated(w1 @ h) * (w3 @ h))
        classifier = self.w.get("output.weight", self.w["tok_embeddings.weight"])
        return self.finished(classifier @ self.norm(x, "norm.weight"), token, position)

    def logits(self, tokens: np.ndarray) -> np.ndarray:
        return np.stack([self.step(int(token), position) for position, token in enumerate(tokens)]).astype(F)


def _floats(model: reader_c.Model, name: str) -> np.ndarray:
    found = model.tensor(name)
    return found.dequantize() if isinstance(found, reader_c.QuantizedTensor) else np.array(found, F)


class LogitsScaled(Healthy):
    def finished(self, logits: np.ndarray, token: int, position: int) -> np.ndarray:
        return logits * F(1.0001)


class LogitsCapped(Healthy):
    def finished(self, logits: np.ndarray, token: int, position: int) -> np.ndarray:
        return F(30) * np.tanh(logits / F(30))


class EmbeddingScaled(Healthy):
    def embedded(self, token: int, position: int) -> np.ndarray:
        return super().embedded(token, position) * F(math.sqrt(self.c.dim))


class NormPlusOne(Healthy):
    def norm_weight(self, name: str) -> np.ndarray:
        return self.w[name] + F(1)


class FinalNormMissing(Healthy):
    def norm(self, x: np.ndarray, name: str) -> np.ndarray:
        return x if name == "norm.weight" else super().norm(x, name)


class Relu(Healthy):
    def activated(self, x: np.ndarray) -> np.ndarray:
        return np.maximum(x, 0)


class QueriesEarly(Healthy):
    def angle_position(self, position: int, what: str) -> int:
        return position + (what == "q")


class AnglesStop(Healthy):
    """Has a table of 64 positions, whose last row serves every later position."""

    def angle_position(self, position: int, what: str) -> int:
        return min(position, 63)


class KvHeadsModulo(Healthy):
    def kv_head(self, head: int) -> int:
        return head % self.c.n_kv_heads


class HalfSplit(Healthy):
    def pairs(self, size: int) -> tuple[np.ndarray, np.ndarray]:
        return np.arange(size // 2), np.arange(size // 2, size)


class WindowOf64(Healthy):
    """Overwrites the oldest of 64 places of its cache."""

    def first_seen(self, position: int, layer: int) -> int:
        return max(0, position - 63)


class OneTokenWrong(Healthy):
    def embedded(self, token: int, position: int) -> np.ndarray:
        return super().embedded(8 if token == 7 else token, position)


class ValuesLate(Healthy):
    """Reads each value of its cache one place late, but the first at its place."""

    def cache(self, cached: list[np.ndarray], what: str) -> np.ndarray:
        late = [cached[0], *cached[:-1]] if what == "v" else cached
        return np.stack(late)


class ScoresOverHeadSize(Healthy):
    def score_scale(self) -> float:
        return 1 / self.c.head_dim


class HalfPrecisionCache(Healthy):
    def stored(self, cached: np.ndarray) -> np.ndarray:
        return cached.astype(np.float16).astype(F)


class GeluTanh(Healthy):
    def activated(self, x: np.ndarray) -> np.ndarray:
        return F(0.5) * x * (1 + np.tanh(F(math.sqrt(2 / math.pi)) * (x + F(0.044715) * x**3)))


class Temperature(Healthy):
    def finished(self, logits: np.ndarray, token: int, position: int) -> np.ndarray:
        return logits / F(0.7)


class LogProbabilities(Healthy):
    def finished(self, logits: np.ndarray, token: int, position: int) -> np.ndarray:
        shifted = logits - logits.max()
        return shifted - np.log(np.exp(shifted).sum())


class LastLayerMissing(Healthy):
    def layers(self) -> range:
        return range(self.c.n_layers - 1)


class SmallEpsilon(Healthy):
    def epsilon(self) -> float:
        return 1e-6


class FullCache(Healthy):
    """Has 50 places, of which the last one is overwritten again and again."""

    def cache(self, cached: list[np.ndarray], what: str) -> np.ndarray:
        return np.stack(cached if len(cached) <= 50 else [*cached[:49], cached[-1]])


class ZeroEmbedding(Healthy):
    def embedded(self, token: int, position: int) -> np.ndarray:
        return super().embedded(token, position) * F(token != 7)


class WindowInOddLayers(Healthy):
    def first_seen(self, position: int, layer: int) -> int:
        return max(0, position - 63) if layer % 2 else 0


class KeysNotRotated(Healthy):
    def angle_position(self, position: int, what: str) -> int:
        return 0 if what == "k" else position


class GatesClipped(Healthy):
    def activated(self, x: np.ndarray) -> np.ndarray:
        return super().activated(np.clip(x, -1, 1))


class TwoMistakes(FinalNormMissing):
    def theta(self) -> float:
        return 500000.0


class LogitsInBfloat16(Healthy):
    def finished(self, logits: np.ndarray, token: int, position: int) -> np.ndarray:
        rounded = logits.astype(F).view(np.uint32) + np.uint32(0x8000)
        return (rounded & np.uint32(0xFFFF0000)).view(F)


class Noisy(Healthy):
    """Has errors that no mistake explains."""

    def finished(self, logits: np.ndarray, token: int, position: int) -> np.ndarray:
        return logits * (1 + F(1e-3) * np.random.default_rng(position).normal(size=logits.shape).astype(F))


if __name__ == "__main__":
    name, file, tokens, logits = sys.argv[1:]
    engine = globals()[name](Path(file))
    engine.logits(np.fromfile(tokens, "<i4")).tofile(logits)
