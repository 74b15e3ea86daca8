"""Measure how far float32 rounding may move each logit: its standard deviation under noise in the reference."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from verify.oracle import llama, multiplications
from verify.oracle.rounding_noise import ROUNDING_VARIANCE, Noise
from verify.oracle.routing import Certainty, RecordingNoise, RoutedNoise, Routing
from verify.sources import Hyperparameters
from verify.system.pulse import NOISY, pulse

# One draw shows whether most logits are within the limit. Where they move farther, more draws decide: a few miss
# positions where attention is nearly undecided, and where a rare rounding moves logits far.
MOST_DRAWS = 32

# Roundings are enlarged by this factor: large enough that the roundings of the float32 passes themselves do not
# matter, and small enough that the model stays linear in them.
SCALE = 32.0

# Variances are float32: those below 2^-149 become 0, and so does the noise of logits below about 2^-50. No softmax,
# not even in float64, distinguishes logits that differ by as little as this.
_LEAST_SIGMA = 2.0**-72

# Elements of the logits that are computed at a time.
_BLOCK = 1 << 20


class LogitNoise:
    """Draws rounding noise for windows of one length, as often as it is asked to.

    A logit's variance is the mean square of its movement in all draws, and of what is known without a draw: the
    roundings of its own sum of products. A position depends on none after it, so the first positions can have more
    draws than the others.
    """

    def __init__(
        self,
        hyper: Hyperparameters,
        load: llama.Load,
        tokens: torch.Tensor,
        logits: NDArray[np.floating[Any]],
        seed: int,
        *,
        rounders: int = 1,
        seen: Callable[[torch.Tensor], None] | None = None,
        routing: Routing | None = None,
    ) -> None:
        """tokens: (windows, length). logits: without noise (windows, length, vocab_size). load returns the weights
        that gave them. seed: of the draws. rounders: how many of the two sides that are compared round to float32:
        the engine alone, or also the program that computed the logits. seen: gets what the classifier reads, with the
        noise of a draw SCALE times as large, for all windows and their first positions. routing: what the exact pass
        of this reference that gave the logits chose; without it a model with experts takes one pass more."""
        self._hyper, self._load, self._tokens, self._seed = hyper, load, tokens, seed
        self.rounders, self._seen = rounders, seen
        self.logits = logits
        # of each position
        self.draws = torch.zeros(tokens.shape[1], 1, dtype=torch.int64)
        self._made = 0
        self._squares = torch.zeros(logits.shape)
        self._routing = (routing or self._recorded()) if hyper.n_experts else None
        self._positions: torch.Tensor
        self._windows: torch.Tensor
        self._spread: torch.Tensor

    @torch.no_grad()
    def _recorded(self) -> Routing:
        """Return the experts that an exact pass chooses, which every draw keeps."""
        routing = Routing()
        llama.last_stream(self._hyper, self._load, self._tokens, torch.float64, RecordingNoise(routing))
        return routing

    def _noise(self, number: int) -> Noise:
        # PyTorch's generator knows the lowest 32 bits of a seed alone
        seed = (self._seed << 8) + number
        if self._routing is None:
            return Noise(draws=1, scale=SCALE, seed=seed)
        return RoutedNoise(self._routing, SCALE, seed, self.rounders)

    @torch.no_grad()
    def draw(self, count: int = 1, positions: int | None = None) -> None:
        """Add draws of noise to all windows, at their first positions or at all."""
        tokens = self._tokens[:, :positions]
        for number in range(self._made, self._made + count):
            self._add(tokens, self._noise(number))
        self._made += count
        self.draws[:positions] += count
        self._gather()

    def _add(self, tokens: torch.Tensor, noise: Noise) -> None:
        hyper, load, length = self._hyper, self._load, tokens.shape[1]
        x = llama.last_stream(hyper, load, tokens, torch.float32, noise)
        h = llama.final_norm(hyper, load, x, noise)
        if self._seen is not None:
            self._seen(h)
        rows, step = load(llama.classifier(hyper)), max(1, _BLOCK // length)
        for window, moved in enumerate(h):
            for first in range(0, len(rows), step):
                part = slice(first, first + step)
                w = rows[part].T.to(moved.dtype)
                y = torch.from_numpy(self.logits[window, :length, part]).to(moved.dtype)
                own, found = self._own(y, moved, w)
                movement = torch.sub(found, y).div_(SCALE)
                self._squares[window, :length, part].add_(own.addcmul_(movement, movement))
                pulse(NOISY * multiplications.of_head(hyper, 1, length) * w.shape[1] / len(rows))

    def _own(self, y: torch.Tensor, moved: torch.Tensor, w: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the variance of logits y by the roundings of their own sums and of what follows them, and the logits
        of the moved stream."""
        found, hyper = moved @ w, self._hyper
        if hyper.logit_divisor == 1 and not hyper.logit_cap:
            return Noise.of_product(y, moved, w).mul_(ROUNDING_VARIANCE), found
        # by the moved sums, which have the size of the exact ones
        own = Noise.of_product(found, moved, w)
        slope = torch.full_like(y, 1 / hyper.logit_divisor)
        if hyper.logit_cap:
            slope *= 1 - (y / hyper.logit_cap).clamp(-1, 1).square()
        # a division and a cap round up to five times more
        return (own * slope.square()).add_(y.square(), alpha=5.0).mul_(ROUNDING_VARIANCE), llama.finished(
            hyper, found, Noise()
        )

    def _gather(self) -> None:
        """Compute the means with which every logit's variance is mixed."""
        _windows, length, vocabulary = self._squares.shape
        self._positions = self._squares.mean(dim=2, keepdim=True) / self.draws
        self._windows = self._positions.mean(dim=1, keepdim=True)
        least = torch.finfo(torch.float32).tiny
        # how much more than the mean of its position a logit of the vocabulary varies, on average
        spread, step = torch.zeros(vocabulary), max(1, _BLOCK // vocabulary)
        for squares, at in zip(self._squares, self._positions, strict=True):
            scale = self.draws * at.clamp(min=least)
            for first in range(0, length, step):
                part = slice(first, first + step)
                spread += (squares[part] / scale[part]).sum(dim=0)
        self._spread = spread.div_(len(self._squares) * length).add_(1).div_(2)

    def movement(self, row: int) -> torch.Tensor:
        """Return the mean variance of each position's logits in one window: float32 (length,)."""
        return self._positions[row, :, 0]

    def window(self, row: int) -> WindowSigma:
        """Return the standard deviations of one window, which follow further draws; of a model with experts, at the
        positions where certainty() lets them be judged."""
        return WindowSigma(self, row, self.certainty(row).positions)

    def certainty(self, row: int) -> Certainty:
        """Return how many of a window's first positions rounding cannot give other experts. After a draw."""
        if self._routing is None:
            return Certainty(self.logits.shape[1], math.inf)
        return self._routing.certainty(row)

    def sigma(self, row: int, positions: slice) -> torch.Tensor:
        """Compute the standard deviations of some positions of a window: float32 (positions, vocab_size).

        Few draws estimate a logit's variance only roughly. The errors of one position's logits are nearly one random
        number, so the result mixes the logit's own draws with means over its position and over its window, spread
        over the vocabulary as all positions are on average. Where a few early roundings decide, only the logit's own
        draws show its variance; elsewhere many logits estimate it better. A logit far larger than its neighbours (a
        token's own, with a tied classifier) also has the roundings of its own sum, dim / 3, and of the last norm,
        dim / 12. Where both sides round, the variance of their difference is twice that of one.
        """
        pooled = self._squares[row, positions] / (2 * self.draws[positions])
        pooled.addcmul_((self._positions[row, positions] + self._windows[row]).div_(2), self._spread)
        pooled.mul_(self.rounders / 1.5)
        y = torch.from_numpy(self.logits[row, positions]).to(pooled.dtype)
        pooled.addcmul_(y, y, value=self.rounders * ROUNDING_VARIANCE * self._hyper.dim * (1 / 3 + 1 / 12))
        return pooled.sqrt_().clamp_(min=_LEAST_SIGMA)


class WindowSigma:
    """The standard deviations of one window's logits: an array (positions, vocab_size), computed where it is read."""

    def __init__(self, noise: LogitNoise, row: int, positions: int) -> None:
        self._noise, self._row = noise, row
        self.shape: tuple[int, ...] = (positions, noise.logits.shape[2])

    def __getitem__(self, positions: slice) -> NDArray[np.float32]:
        within = slice(*positions.indices(self.shape[0]))
        sigma: NDArray[np.float32] = self._noise.sigma(self._row, within).numpy()
        return sigma

    @property
    def draws(self) -> int:
        """Return how many draws of noise the position with most of them has."""
        return int(self._noise.draws.max())

    def refine(self, position: int) -> bool:
        """Measure the positions up to this one by more draws; False if it has as many as there ever are."""
        draws = int(self._noise.draws[position])
        if draws >= MOST_DRAWS:
            return False
        self._noise.draw(draws, position + 1)
        return True


def logit_sigma(hyper: Hyperparameters, load: llama.Load, tokens: torch.Tensor, seed: int) -> torch.Tensor:
    """Return the standard deviations of logits of tokens (windows, length) by eight draws: (windows,
    length, vocab_size)."""
    noise = LogitNoise(hyper, load, tokens, llama.logits(hyper, load, tokens, torch.float32).numpy(), seed)
    noise.draw(8)
    return torch.stack([noise.sigma(row, slice(None)) for row in range(len(tokens))])
