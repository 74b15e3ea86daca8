"""Measure how far float32 rounding may move the logits of two healthy engines with int8 activations apart.

Before a product with a Q8_0 matrix, such an engine divides each activation by its group's peak / 127 and rounds the
quotient to an integer. Float32 rounding moves a quotient by some 1e-5. This changes nothing, unless the quotient lies
that near to a half: then the activation *turns*, the logits jump, and a jump makes activations turn in later layers
and at later positions. Where two experts of a router are that near to each other, the choice of an expert turns, too.
So two healthy engines differ by float32 rounding up to the first turn and by jumps from there on. Three kinds
of draws measure both:

- frozen: every activation keeps the step of the clean pass. The spread of the logits is that before the first turn,
  and the spread of the quotients, compared with their distances from the nearest half, gives the expected number of
  turns.
- live: activations turn as they do in a healthy engine.
- apart: every activation is rounded up or down at random, as if rounding had decided nothing. The jumps of a healthy
  engine are rarer than these.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch

from verify.oracle import llama
from verify.oracle.rounding_noise import ROUNDING_VARIANCE, Noise, largest
from verify.oracle.routing import margins, spread_of
from verify.sources import Hyperparameters

GroupSize = Callable[[str], int]

# The roundings of frozen draws are enlarged by this factor, as logit_sigma does.
ENLARGED = 32.0
# Three programs round: the engine, the reader, and the float32 pass that stands for both.
_ROUNDERS = 3.0
# In a live draw the noise of two engines meets in one.
_OF_TWO = math.sqrt(2)
_LEAST_SIGMA = 2.0**-72


@dataclass(frozen=True)
class Draws:
    """Says how many draws of each kind to make."""

    frozen: int
    live: int
    apart: int

    @property
    def scales(self) -> list[float]:
        """Return by how much each draw enlarges roundings."""
        return [ENLARGED] * self.frozen + [_OF_TWO] * (self.live + self.apart)


# Enough to tell where a difference may begin; and enough where turns are so many that it may begin anywhere.
TELLING = Draws(frozen=4, live=2, apart=2)
CROWDED = Draws(frozen=0, live=2, apart=1)


@dataclass(frozen=True)
class Int8Spread:
    """Describes how far two healthy engines may be apart in one window.

    sigma: of a logit's difference before the first turn (length, vocab_size); None without frozen draws. turns: the
    expected number of activations that turn at each position (length,), float64; None without frozen draws. live:
    differences of logits (draws, length, vocab_size). apart: the root mean square over the vocabulary of the
    differences between draws whose activations are rounded at random (length,).
    """

    sigma: torch.Tensor | None
    turns: torch.Tensor | None
    live: torch.Tensor
    apart: torch.Tensor


@torch.no_grad()
def int8_spread(
    hyper: Hyperparameters, load: llama.Load, group_size: GroupSize, tokens: torch.Tensor, draws: Draws, seed: int
) -> Int8Spread:
    """Measure the spread in a window of tokens (length,).

    load returns the file's weights. group_size returns that of a matrix, 0 if it is not stored as Q8_0.
    """
    noise = _SpreadNoise(draws, seed)
    activations = _Activations(group_size, noise, draws, seed)
    rows = tokens.expand(1 + noise.draws, -1)
    logits = llama.logits(hyper, load, rows, torch.float32, noise, activations)
    clean, moved = logits[0], logits[1:].sub_(logits[0])
    frozen, live, apart = moved.split((draws.frozen, draws.live, draws.apart))
    return Int8Spread(
        sigma=pooled_sigma(frozen, clean, hyper.dim) if draws.frozen else None,
        turns=activations.turns + noise.turns if draws.frozen else None,
        live=live,
        apart=apart.square().mean((0, 2)).sqrt(),
    )


def pooled_sigma(frozen: torch.Tensor, clean: torch.Tensor, dim: int) -> torch.Tensor:
    """Return the standard deviation of logits (length, vocab_size) before the first turn.

    frozen: what enlarged draws moved them by (draws, length, vocab_size), whose variances are pooled as logit_sigma
    does.
    """
    variance = (frozen / ENLARGED).square_().mean(0)
    position = variance.mean(-1, keepdim=True)
    window = position.mean(0, keepdim=True)
    pooled = variance.add_((position + window).div_(2)).div_(2)
    pooled.add_(clean.square(), alpha=ROUNDING_VARIANCE * dim * (1 / 3 + 1 / 12))
    return pooled.mul_(_ROUNDERS).sqrt_().clamp_(min=_LEAST_SIGMA)


class DrawsNoise(Noise):
    """Noise whose draws enlarge roundings by factors of their own."""

    def __init__(self, scales: Sequence[float], seed: int, clean: int = 1) -> None:
        super().__init__(clean, len(scales), 1.0, seed)
        self._scales = torch.tensor(scales)

    def _signs(self, *shape: int) -> torch.Tensor:
        return super()._signs(*shape) * self._of_draws(1 + len(shape))

    def _normal(self, shape: Sequence[int], dtype: torch.dtype) -> torch.Tensor:
        return super()._normal(shape, dtype) * self._of_draws(len(shape)).to(dtype)

    def _of_draws(self, dimensions: int) -> torch.Tensor:
        return self._scales.view(-1, *(1,) * (dimensions - 1))


class _SpreadNoise(DrawsNoise):
    """Noise of one window whose frozen draws keep the experts of the clean pass, and which counts choices that may
    turn."""

    def __init__(self, draws: Draws, seed: int) -> None:
        super().__init__(draws.scales, seed)
        self._kept = 1 + draws.frozen
        self.turns = torch.zeros((), dtype=torch.float64)

    def chosen(self, _layer: int, logits: torch.Tensor, count: int) -> torch.Tensor:
        chosen = largest(logits, count)
        chosen[1 : self._kept] = chosen[:1]
        if self._kept > 1:
            clean, moved = logits[:1].double(), (logits[1 : self._kept] - logits[:1]) / ENLARGED
            variance = torch.stack([spread_of(one.unsqueeze(0)) for one in moved]).mean(0)
            distance = margins(clean, variance.mul_(_ROUNDERS), count)[0]
            self.turns = self.turns + torch.special.erfc(distance / math.sqrt(2)) / 2
        return chosen


class Int8Activations(ABC):
    """Rounds the input of each product with a Q8_0 matrix to int8."""

    def __init__(self, group_size: GroupSize) -> None:
        self._group_size = group_size
        self._last: tuple[torch.Tensor, int, torch.Tensor] | None = None

    def __call__(self, x: torch.Tensor, matrix: str) -> torch.Tensor:
        """Return x (draws, length, in_features) as int8 activations represent it."""
        size = self._group_size(matrix)
        if not size:
            return x
        # the queries, keys and values read the same activations, which turn together
        if self._last is None or self._last[0] is not x or self._last[1] != size:
            grouped = x.unflatten(-1, (-1, size))
            scale = grouped.abs().amax(-1, keepdim=True) / 127.0
            steps = self._steps(torch.where(scale > 0, grouped / scale, 0.0))
            self._last = (x, size, steps.clamp_(-127, 127).mul_(scale).flatten(-2))
        return self._last[2]

    @abstractmethod
    def _steps(self, quotient: torch.Tensor) -> torch.Tensor:
        """Return the integers that quotients in groups (draws, length, groups, size) are rounded to."""


class _Activations(Int8Activations):
    """Rounds in all draws at once, and counts how many activations may turn."""

    def __init__(self, group_size: GroupSize, noise: DrawsNoise, draws: Draws, seed: int) -> None:
        super().__init__(group_size)
        self._noise = noise
        self._frozen = slice(1, 1 + draws.frozen)
        self._apart = slice(1 + draws.frozen + draws.live, None)
        self._generator = torch.Generator().manual_seed(seed)
        self.turns = torch.zeros((), dtype=torch.float64)

    def _steps(self, quotient: torch.Tensor) -> torch.Tensor:
        if self._frozen.stop > 1:
            self.turns = self.turns + self._expected_turns(quotient)
        # the roundings of the scale and of the quotient
        steps = half_away(self._noise.rounded(quotient.clone(), roundings=2))
        steps[self._frozen] = steps[0]
        at_random = quotient[self._apart]
        steps[self._apart] = (at_random + torch.rand(at_random.shape, generator=self._generator)).floor_()
        return steps

    def _expected_turns(self, quotient: torch.Tensor) -> torch.Tensor:
        """Add up over a position the probabilities that noise carries a quotient across a half: (length,)."""
        # a change of sign is none of the quotient
        clean, frozen = quotient[0].abs(), quotient[self._frozen].abs()
        moved = ((frozen - clean) / ENLARGED).square_().mean(0)
        # a few draws show a variance only roughly, so the group and the position have their say too
        variance = (moved + moved.mean(-1, keepdim=True) + moved.mean((-1, -2), keepdim=True)) / 3
        variance = _ROUNDERS * (variance + clean.square() * (2 * ROUNDING_VARIANCE))
        distance = ((clean % 1.0) - 0.5).abs().double()
        crossing = torch.special.erfc(distance / (2 * variance.double()).sqrt()) / 2
        return torch.where(variance > 0, crossing, 0.0).sum((-1, -2))


def half_away(quotient: torch.Tensor) -> torch.Tensor:
    """Round to the nearest integer, halves away from zero."""
    return torch.copysign((quotient.abs() + 0.5).floor_(), quotient)
