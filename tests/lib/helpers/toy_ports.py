"""Engines in numpy with the mistakes of ports: loops over the wrong heads, steps out of order, buffers used twice.

They share no code with the verifier's reference. The model of these engines may have biases and norms of queries and
keys, which the healthy engine of this module adds.
"""

# ruff: noqa: ARG002  # a step gets what any mistake of it may need

from __future__ import annotations

import math

import numpy as np

from helpers.toy_engine import F, Healthy
from helpers.toy_general import StreamInBfloat16
from helpers.toy_mistakes import _Attending, _Steps, _Turning


def bfloat16(x: np.ndarray) -> np.ndarray:
    return StreamInBfloat16.held(np.ascontiguousarray(x, F))


class Whole(_Attending):
    """The healthy engine of models that have biases of queries, keys and values, and norms of queries and keys."""

    def part(self, x: np.ndarray, layer: int, what: str) -> np.ndarray:
        """The product, as heads."""
        return (self.w[f"layers.{layer}.attention.w{what}.weight"] @ x).reshape(-1, self.c.head_dim)

    def biased(self, x: np.ndarray, layer: int, what: str) -> np.ndarray:
        bias = self.w.get(f"layers.{layer}.attention.w{what}.bias")
        return x if bias is None else x + bias.reshape(x.shape)

    def normed(self, x: np.ndarray, layer: int, what: str) -> np.ndarray:
        weight = self.w.get(f"layers.{layer}.attention.{what}_norm.weight")
        if what == "v" or weight is None:
            return x
        return weight * (x / np.sqrt((x * x).mean(axis=1, keepdims=True) + F(self.epsilon())))

    def ready(self, x: np.ndarray, layer: int, position: int, what: str) -> np.ndarray:
        return self.turned(self.normed(self.biased(x, layer, what), layer, what), position, what)

    def scored(self, head: int, scores: np.ndarray) -> np.ndarray:
        return scores * F(self.score_scale())

    def seen(self, keys: np.ndarray, values: np.ndarray, position: int, layer: int) -> tuple[np.ndarray, np.ndarray]:
        return keys, values

    def attention(self, x: np.ndarray, layer: int, position: int) -> np.ndarray:
        q, k, v = (self.ready(self.part(x, layer, what), layer, position, what) for what in "qkv")
        self.remembered(layer, position, k, v)
        keys, values = (np.stack(cache[self.places(layer)]) for cache in (self.keys, self.values))
        keys, values = self.seen(keys, values, position, layer)
        heads = []
        for head in range(self.c.n_heads):
            of = self.kv_head(head)
            heads.append(self.shares(self.scored(head, keys[:, of] @ q[head])) @ values[:, of])
        return self.projected(self.w[f"layers.{layer}.attention.wo.weight"], self.joined(heads))


# ---- loops over heads ----


class KeysTurnedByEachQueryHead(Whole):
    def turned(self, x: np.ndarray, position: int, what: str) -> np.ndarray:
        for _ in range(self.c.n_heads // self.c.n_kv_heads if what == "k" else what == "q"):
            x = self.rotated(x, position)
        return x


class QueriesTurnedInKvHeads(Whole):
    def turned(self, x: np.ndarray, position: int, what: str) -> np.ndarray:
        turned = super().turned(x, position, what)
        turned[self.c.n_kv_heads :] = x[self.c.n_kv_heads :]
        return turned


class FirstHeadTurned(Whole):
    def turned(self, x: np.ndarray, position: int, what: str) -> np.ndarray:
        turned = super().turned(x, position, what)
        turned[1:] = x[1:]
        return turned


class QueriesNormedInKvHeads(Whole):
    def normed(self, x: np.ndarray, layer: int, what: str) -> np.ndarray:
        normed = super().normed(x, layer, what)
        normed[self.c.n_kv_heads :] = x[self.c.n_kv_heads :]
        return normed


class ScoresScaledInKvHeads(Whole):
    def scored(self, head: int, scores: np.ndarray) -> np.ndarray:
        return super().scored(head, scores) if head < self.c.n_kv_heads else scores


class SecondHeadHalfTurned(Whole):
    """Is a neighbour: one head is rotated by half of its angle."""

    def turned(self, x: np.ndarray, position: int, what: str) -> np.ndarray:
        turned = super().turned(x, position, what)
        if what == "q":
            turned[1] = self.rotated(x, 0.5 * position)[1]  # type: ignore[arg-type]
        return turned


# ---- steps out of order ----


class BiasesAfterRope(Whole):
    def ready(self, x: np.ndarray, layer: int, position: int, what: str) -> np.ndarray:
        return self.biased(self.turned(self.normed(x, layer, what), position, what), layer, what)


class NormsAfterRope(Whole):
    def ready(self, x: np.ndarray, layer: int, position: int, what: str) -> np.ndarray:
        return self.normed(self.turned(self.biased(x, layer, what), position, what), layer, what)


class HalfBiasesAfterRope(Whole):
    """Is a neighbour: half of each bias is added before RoPE, and half after it."""

    def biased(self, x: np.ndarray, layer: int, what: str) -> np.ndarray:
        return (x + super().biased(x, layer, what)) / 2

    def ready(self, x: np.ndarray, layer: int, position: int, what: str) -> np.ndarray:
        half = self.w[f"layers.{layer}.attention.w{what}.bias"].reshape(x.shape) / 2
        return self.turned(self.normed(x + half, layer, what), position, what) + half


# ---- RoPE ----


class AnglesInBfloat16(_Turning):
    def frequencies(self, heads: int, size: int) -> np.ndarray:
        return (self.theta() ** (-np.arange(0, size, 2) / size)).astype(F)

    def angles(self, x: np.ndarray, position: int) -> np.ndarray:
        return bfloat16(F(position) * self.frequencies(*x.shape))

    def held(self, table: np.ndarray) -> np.ndarray:
        return table.astype(F)

    def rotated(self, x: np.ndarray, position: int) -> np.ndarray:
        angles = self.angles(x, position)
        cosine, sine = self.held(np.cos(angles)), self.held(np.sin(angles))
        turned = np.empty_like(x)
        turned[:, 0::2] = x[:, 0::2] * cosine - x[:, 1::2] * sine
        turned[:, 1::2] = x[:, 0::2] * sine + x[:, 1::2] * cosine
        return turned


class SinesInBfloat16(AnglesInBfloat16):
    def angles(self, x: np.ndarray, position: int) -> np.ndarray:
        return F(position) * self.frequencies(*x.shape)

    def held(self, table: np.ndarray) -> np.ndarray:
        return bfloat16(table)


class AllOfRopeInFloat16(AnglesInBfloat16):
    def angles(self, x: np.ndarray, position: int) -> np.ndarray:
        return (np.float16(position) * self.frequencies(*x.shape).astype(np.float16)).astype(F)

    def held(self, table: np.ndarray) -> np.ndarray:
        return table.astype(np.float16).astype(F)


class SinesOnAGrid(SinesInBfloat16):
    """Is a neighbour: sines and cosines in steps of 1/256."""

    def held(self, table: np.ndarray) -> np.ndarray:
        return np.rint(table * F(256)).astype(F) / F(256)


class TurnedInPlace(Healthy):
    """Overwrites the first number of each pair before it computes the second."""

    def rotated(self, x: np.ndarray, position: int) -> np.ndarray:
        turned, still = super().rotated(x, position), x.copy()
        still[:, 0::2] = turned[:, 0::2]
        turned[:, 1::2] = super().rotated(still, position)[:, 1::2]
        return turned


# ---- precision ----


class StreamInFloat16(StreamInBfloat16):
    @staticmethod
    def held(x: np.ndarray) -> np.ndarray:
        return x.astype(np.float16).astype(F)


class StreamRoundedAtRandom(StreamInBfloat16):
    """Is a neighbour: rounds up or down at random."""

    chance = np.random.default_rng(0)

    @staticmethod
    def held(x: np.ndarray) -> np.ndarray:
        added = StreamRoundedAtRandom.chance.integers(0, 1 << 16, x.shape, np.uint32)
        return ((x.astype(F).view(np.uint32) + added) & np.uint32(0xFFFF0000)).view(F)


class EmbeddingsInBfloat16Too(StreamInBfloat16):
    def embedded(self, token: int, position: int) -> np.ndarray:
        return self.held(super().embedded(token, position))


class StreamAfterAttentionInBfloat16(StreamInBfloat16):
    def fed(self, x: np.ndarray, h: np.ndarray, y: np.ndarray, layer: int) -> np.ndarray:
        return x + y


class StreamRoundedInFirstLayers(StreamInBfloat16):
    """Is a neighbour: rounds the stream after every feed forward but that of the last layers."""

    def attended(self, x: np.ndarray, h: np.ndarray, y: np.ndarray) -> np.ndarray:
        return x + y

    def fed(self, x: np.ndarray, h: np.ndarray, y: np.ndarray, layer: int) -> np.ndarray:
        return self.held(x + y) if layer < 2 else x + y


# ---- buffers ----


class WoInPlace(_Attending):
    def projected(self, wo: np.ndarray, mixed: np.ndarray) -> np.ndarray:
        buffer = mixed.copy()
        for row in range(len(wo)):
            buffer[row] = wo[row] @ buffer
        return buffer[: len(wo)]


class WoInPlaceBackwards(_Attending):
    """Is a neighbour: its rows run from the last one down."""

    def projected(self, wo: np.ndarray, mixed: np.ndarray) -> np.ndarray:
        buffer = mixed.copy()
        for row in reversed(range(len(wo))):
            buffer[row] = wo[row] @ buffer
        return buffer


# ---- loops over elements ----


class SevenOfEightLanes(_Attending):
    """Omits the last of 8 lanes when it adds up the products of wo."""

    def projected(self, wo: np.ndarray, mixed: np.ndarray) -> np.ndarray:
        return wo @ np.where(np.arange(len(mixed)) % 8 == 7, 0, mixed)


class RowsOfOneThreadMissing(_Attending):
    """The second of four threads does not compute its rows of wo."""

    def projected(self, wo: np.ndarray, mixed: np.ndarray) -> np.ndarray:
        share, made = len(wo) // 4, wo @ mixed
        made[share : 2 * share] = 0
        return made


class ScoresWithoutLastElement(Whole):
    def turned(self, x: np.ndarray, position: int, what: str) -> np.ndarray:
        turned = super().turned(x, position, what)
        if what == "q":
            turned[:, -1] = 0
        return turned


class DownReadsTheGate(_Steps):
    def gated(self, gate: np.ndarray, up: np.ndarray) -> np.ndarray:
        made = super().gated(gate, up)
        made[len(made) // 4 * 3 :] = gate[len(made) // 4 * 3 :]
        return made


# ---- caches ----


class OwnPositionUnwritten(Whole):
    """Reads the cache before it writes: its own place is still zero."""

    def seen(self, keys: np.ndarray, values: np.ndarray, position: int, layer: int) -> tuple[np.ndarray, np.ndarray]:
        keys, values = keys.copy(), values.copy()
        keys[-1], values[-1] = 0, 0
        return keys, values


class CacheOfNinePlaces(Healthy):
    """Position p stands at place p % 9, and position 0 to p are read at their places."""

    def cache(self, cached: list[np.ndarray], what: str) -> np.ndarray:
        held: dict[int, np.ndarray] = {position % 9: part for position, part in enumerate(cached)}
        return np.stack([held[position % 9] for position in range(len(cached))])


class CacheOfNinePlacesLastReadOnce(Healthy):
    """As if it knew what it has lost, but with the wrong eight of the last nine."""

    def cache(self, cached: list[np.ndarray], what: str) -> np.ndarray:
        return np.stack(cached[:-9] + cached[-8:] + cached[-8:-7] if len(cached) > 9 else cached)


class OwnPositionHalved(Whole):
    """Is a neighbour: its own place holds half of what it should."""

    def seen(self, keys: np.ndarray, values: np.ndarray, position: int, layer: int) -> tuple[np.ndarray, np.ndarray]:
        keys, values = keys.copy(), values.copy()
        keys[-1], values[-1] = keys[-1] / 2, values[-1] / 2
        return keys, values


class PlacesOfLayersOverlap(Whole):
    """Has layer l begin at place l of one cache: the stride of a layer is that of a position."""

    def attention(self, x: np.ndarray, layer: int, position: int) -> np.ndarray:
        self.layer, self.position = layer, position
        return super().attention(x, layer, position)

    def remembered(self, layer: int, position: int, k: np.ndarray, v: np.ndarray) -> None:
        self.flat = getattr(self, "flat", {})
        self.flat[layer + position] = (k, v)
        self.keys[layer], self.values[layer] = (
            [self.flat[layer + place][which] for place in range(position + 1)] for which in (0, 1)
        )


# ---- logits ----


class OneLogitConstant(Healthy):
    def finished(self, logits: np.ndarray, token: int, position: int) -> np.ndarray:
        return np.where(np.arange(len(logits)) == 5, F(-10000), logits)


class OneLogitConstantOnce(Healthy):
    def finished(self, logits: np.ndarray, token: int, position: int) -> np.ndarray:
        return np.where((np.arange(len(logits)) == 5) & (position == 7), F(-1e4), logits)


class OneLogitRaised(Healthy):
    def finished(self, logits: np.ndarray, token: int, position: int) -> np.ndarray:
        return logits + F(2.5) * (np.arange(len(logits)) == 5)


class OneLogitOffOnce(Healthy):
    """Is a neighbour: one logit is off once, by a number that nobody wrote."""

    def finished(self, logits: np.ndarray, token: int, position: int) -> np.ndarray:
        off = F(math.pi) * ((np.arange(len(logits)) == 5) & (position == 7))
        return (logits + off).astype(F)


class OneLogitNoisy(Healthy):
    """Is a neighbour: the logit of a token is another number at each position."""

    def finished(self, logits: np.ndarray, token: int, position: int) -> np.ndarray:
        return logits + F(math.sin(position)) * (np.arange(len(logits)) == 5)
