"""Read a number off an engine's logits: RoPE's theta, the norms' epsilon, a factor that should not be there.

The logits are a smooth function of such a number. So it follows from a few passes: the first changes it slightly and
gives a slope, each later one takes the number at which that slope explains most, and measures the slope again.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
import torch
from numpy.typing import NDArray

from verify.diagnosis import engine_mistakes as m
from verify.diagnosis.mistakes import ROPE_THETA
from verify.engine.hint_reference import Load, MakeWatch, MistakenReference, logits_of
from verify.oracle import llama
from verify.sources import Hyperparameters

Logits = NDArray[np.float64]

# Positions to read the number off: later ones turn RoPE's angles too far for a slope.
_POSITIONS = 12
_PASSES = 8
_SLIGHTLY = 1e-3
# The logarithm of a number over the right one: one that is farther away is no slip.
_FARTHEST = 5.0
# A step that leaves more than this share of the difference leads nowhere, unless logits are so near, in sigma, that
# rounding is left.
_LEFT, _NEAR = 0.9, 3.0
_DIGITS = range(1, 8)
# A factor is fitted to each layer of models with at most so many.
_MOST_LAYERS = 8
# A factor on these in every layer has another name.
_NAMED = ("q_rotated", "down")
# Operations whose results a factor may be on, with what a sentence calls them.
_STAGES = {
    "attention_norm": "the normed input of attention",
    "q_rotated": "queries (or keys, or scores)",
    "wo": "values or the result of attention (wo)",
    "attention_residual": "the stream after attention",
    "ffn_norm": "the normed input of the feed forward",
    "gate": "gate (w1)",
    "down": "up (w3) or the result of the feed forward (w2)",
    "ffn_residual": "the stream after the layer",
}


@dataclass(frozen=True)
class FreeNumber:
    """Describes a number that an engine may have wrong. right: its value. made: the reference with another one."""

    right: float
    made: Callable[[float], MistakenReference]


def fitted_references(
    hyper: Hyperparameters, load: Load, tokens: torch.Tensor, engine: Logits, reference: Logits, sigma: Logits
) -> Iterator[MistakenReference]:
    """Yield the reference for each number that may explain the first positions, with as few digits as fit.

    tokens: (length,) of the window. engine, reference, sigma: (length, vocab_size).
    """
    here = slice(0, _POSITIONS)
    for free in _numbers(hyper, load):
        found = _Fit(free, tokens[here], engine[here] / sigma[here], reference[here] / sigma[here], sigma[here]).run()
        if found is not None:
            yield free.made(found)


class _Fit:
    """Fits the logarithm of one number over its right value. target, right: the engine's logits and the right ones,
    in units of sigma."""

    def __init__(self, free: FreeNumber, tokens: torch.Tensor, target: Logits, right: Logits, sigma: Logits) -> None:
        self._free, self._tokens, self._sigma = free, tokens, sigma
        self._target, self._right = target, right

    def run(self) -> float | None:
        """Return the number; None if the logits do not follow from any."""
        before, previous, at = 0.0, self._right, _SLIGHTLY
        size = float(np.linalg.norm(self._target - self._right))
        for number in range(_PASSES):
            made = self._made(at)
            slope, left = (made - previous) / (at - before), self._target - made
            steepness, remaining = float(np.square(slope).sum()), float(np.linalg.norm(left))
            if not math.isfinite(remaining) or steepness == 0:
                return None
            # the first pass only measures
            stuck = number > 0 and remaining > _LEFT * size
            before, previous, size = at, made, remaining
            at += float((left * slope).sum()) / steepness
            if abs(at) > _FARTHEST or (stuck and remaining > _NEAR * math.sqrt(left.size)):
                return None
            room = 10 / math.sqrt(float(np.square(slope).mean(axis=1).sum()))
            if stuck or abs(at - before) < room / 10:
                return self._short(at, room)
        return None

    def _made(self, at: float) -> Logits:
        made: Logits = logits_of(self._free.made(self._value(at)), self._tokens).numpy() / self._sigma
        return made

    def _value(self, at: float) -> float:
        return self._free.right * math.exp(at)

    def _short(self, at: float, room: float) -> float:
        """Return the number with the fewest digits within the room that rounding leaves.

        The errors of one position's logits are about one random number, so a position counts once.
        """
        value = self._value(at)
        short = (float(f"{value:.{digits}g}") for digits in _DIGITS)
        return next((one for one in short if one > 0 and abs(math.log(one / value)) < room), value)


def _numbers(hyper: Hyperparameters, load: Load) -> Iterator[FreeNumber]:
    def theta(value: float) -> MistakenReference:
        sentence = ROPE_THETA.of_engine(found=value, expected=hyper.rope_theta)
        return MistakenReference(ROPE_THETA, sentence, replace(hyper, rope_theta=value), load)

    def eps(value: float) -> MistakenReference:
        sentence = m.NORM_EPS.of_engine(found=value, expected=hyper.norm_eps)
        return MistakenReference(m.NORM_EPS, sentence, replace(hyper, norm_eps=value), load)

    def scores(value: float) -> MistakenReference:
        sentence = m.SCORES_SCALED.of_engine(factor=value)
        return MistakenReference(m.SCORES_SCALED, sentence, hyper, load, _scaled("scores", value))

    def activation(value: float) -> MistakenReference:
        sentence = m.ACTIVATION_SCALED.of_engine(
            found=f"{hyper.activation}'s result (or up (w3), or what w2 gives)", factor=value
        )
        return MistakenReference(m.ACTIVATION_SCALED, sentence, hyper, load, _scaled("gated", value))

    def embedding(value: float) -> MistakenReference:
        sentence = m.EMBEDDING_SCALED.of_engine(factor=f"{value:.8g}")
        return MistakenReference(m.EMBEDDING_SCALED, sentence, hyper, load, embedding=value)

    def residual(value: float) -> MistakenReference:
        sentence = m.RESIDUAL_SCALED.of_engine(factor=value)
        scaled = replace(hyper, residual_scale=hyper.residual_scale * value)
        return MistakenReference(m.RESIDUAL_SCALED, sentence, scaled, load)

    if hyper.rope_theta > 0 and any(hyper.layer(number).rope != "none" for number in range(hyper.n_layers)):
        yield FreeNumber(hyper.rope_theta, theta)
    yield FreeNumber(1.0, scores)
    yield FreeNumber(1.0, activation)
    if hyper.norm_eps > 0:
        yield FreeNumber(hyper.norm_eps, eps)
    yield FreeNumber(1.0, embedding)
    yield FreeNumber(1.0, residual)
    yield from _of_stages(hyper, load)


def _of_stages(hyper: Hyperparameters, load: Load) -> Iterator[FreeNumber]:
    """Yield a factor on what each operation gives, in every layer and in each layer alone."""
    layers = range(hyper.n_layers) if 1 < hyper.n_layers <= _MOST_LAYERS else ()
    for name, what in _STAGES.items():
        for layer in layers if name in _NAMED else (None, *layers):
            yield FreeNumber(1.0, partial(_on_stage, hyper, load, name, what, layer))


def _on_stage(
    hyper: Hyperparameters, load: Load, name: str, what: str, layer: int | None, value: float
) -> MistakenReference:
    sentence = m.STAGE_SCALED.of_engine(what=what, factor=value)
    made = MistakenReference(m.STAGE_SCALED, sentence, hyper, load, _scaled(name, value))
    return made if layer is None else made.in_layer(layer, hyper, load)


def _scaled(operation: str, factor: float) -> MakeWatch:
    def make(_hyper: Hyperparameters, _rotation: torch.Tensor | None) -> llama.Watch:
        return lambda name, y: y * factor if name == operation else y

    return make
