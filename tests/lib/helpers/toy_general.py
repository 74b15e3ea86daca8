"""Engines in numpy whose mistakes no list has by name: any operation with a wrong operand, order, part or formula.

They share no code with the verifier's reference.
"""

# ruff: noqa: ARG002  # a step gets what any mistake of it may need

from __future__ import annotations

import math

import numpy as np

from helpers.toy_engine import F, Healthy
from helpers.toy_mistakes import _Attending, _Steps


class WeightsBeforeTheNorm(Healthy):
    def norm(self, x: np.ndarray, name: str) -> np.ndarray:
        y = x * self.norm_weight(name)
        return y / np.sqrt(np.mean(y * y) + F(self.epsilon()))


class SecondSumFromTheStart(_Steps):
    def attended(self, x: np.ndarray, h: np.ndarray, y: np.ndarray) -> np.ndarray:
        self.before = x
        return x + y

    def fed(self, x: np.ndarray, h: np.ndarray, y: np.ndarray, layer: int) -> np.ndarray:
        return self.before + y


class LastHeadMissing(_Attending):
    def joined(self, heads: list[np.ndarray]) -> np.ndarray:
        return np.concatenate([*heads[:-1], 0 * heads[-1]])


class QueriesNormed(_Attending):
    def turned(self, x: np.ndarray, position: int, what: str) -> np.ndarray:
        if what == "q":
            x = x / np.sqrt((x * x).mean(axis=1, keepdims=True) + F(1e-6))
        return super().turned(x, position, what)


class Base2(_Attending):
    def shares(self, scores: np.ndarray) -> np.ndarray:
        shares = np.exp2(scores - scores.max())
        return shares / shares.sum()


class NeverRescaled(_Attending):
    """Computes softmax in one pass and forgets to rescale the mix when the largest score grows."""

    def shares(self, scores: np.ndarray) -> np.ndarray:
        largest = np.maximum.accumulate(scores)
        return np.exp(scores - largest) / np.exp(scores - scores.max()).sum()


class HeadsBackwardsInLayer1(_Attending):
    def attention(self, x: np.ndarray, layer: int, position: int) -> np.ndarray:
        self.turn = layer == 1
        return super().attention(x, layer, position)

    def joined(self, heads: list[np.ndarray]) -> np.ndarray:
        return np.concatenate(heads[::-1] if self.turn else heads)


class TokensModuloHalf(Healthy):
    def embedded(self, token: int, position: int) -> np.ndarray:
        return super().embedded(token % (self.c.vocab_size // 2), position)


class LogitsCut(Healthy):
    def finished(self, logits: np.ndarray, token: int, position: int) -> np.ndarray:
        return np.where(np.arange(len(logits)) < 30, logits, 0)


class FeedForwardOfLayer2Scaled(_Steps):
    def fed(self, x: np.ndarray, h: np.ndarray, y: np.ndarray, layer: int) -> np.ndarray:
        return x + (y * F(0.7) if layer == 2 else y)


class StreamInBfloat16(_Steps):
    @staticmethod
    def held(x: np.ndarray) -> np.ndarray:
        bits = x.astype(F).view(np.uint32)
        return ((bits + 0x7FFF + ((bits >> 16) & 1)) & np.uint32(0xFFFF0000)).view(F)

    def attended(self, x: np.ndarray, h: np.ndarray, y: np.ndarray) -> np.ndarray:
        return self.held(x + y)

    def fed(self, x: np.ndarray, h: np.ndarray, y: np.ndarray, layer: int) -> np.ndarray:
        return self.held(x + y)


class HalfNormed(_Attending):
    """Is a neighbour of queries that are normed: half of them is."""

    def turned(self, x: np.ndarray, position: int, what: str) -> np.ndarray:
        if what == "q":
            x = (x + x / np.sqrt((x * x).mean(axis=1, keepdims=True) + F(1e-6))) / 2
        return super().turned(x, position, what)


class TwoHeadsSwappedAndScaled(_Attending):
    """Makes two mistakes at once."""

    def joined(self, heads: list[np.ndarray]) -> np.ndarray:
        return np.concatenate([heads[1], heads[0] * F(math.pi), *heads[2:]])
