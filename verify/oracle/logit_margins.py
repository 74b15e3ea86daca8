"""Measure how certain greedy text is: the margin between the first two logits, by the rounding of their difference.

The two logits move together under most roundings, so their difference is drawn itself. A margin of 10 or more
certifies the position: every correct float32 engine chooses the first token there. That is a statistical statement,
as the check `execution` makes it, and not a proof.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from verify.oracle import llama
from verify.oracle.logit_sigma import SCALE, LogitNoise
from verify.oracle.rounding_noise import ROUNDING_VARIANCE, Noise
from verify.sources import Hyperparameters

# About so many rows of the classifier say how long its rows are.
_ROWS = 2048


@dataclass(frozen=True)
class WindowMargins:
    """Holds the margins of one window: arrays (length,).

    first, second: the two likeliest tokens. sigmas: how far the first one's logit is above the second one's, in
    standard deviations of the float32 rounding of their difference; 0 where they are equal, and from where on a
    right engine may have chosen other experts.
    """

    first: NDArray[np.int64]
    second: NDArray[np.int64]
    sigmas: NDArray[np.float64]


class Margins:
    """Gathers draws of noise for windows of one length: give add() to a LogitNoise as what it calls, and read the
    margins by window() when it has drawn.

    tokens: int64 (windows, length, 2), to measure the margins of these tokens instead of the two likeliest: a margin
    is negative where the second one's logit is larger.
    """

    def __init__(
        self,
        hyper: Hyperparameters,
        load: llama.Load,
        logits: NDArray[np.floating[Any]],
        tokens: NDArray[np.int64] | None = None,
    ) -> None:
        """logits: the reference's (windows, length, vocab_size), on the weights that load returns."""
        every = torch.from_numpy(np.asarray(logits))
        self._ids = every.topk(2, dim=-1).indices if tokens is None else torch.from_numpy(tokens)
        self._values = every.gather(-1, self._ids).double()
        classifier = load(llama.classifier(hyper))
        self._hyper = hyper
        self._rows = classifier[self._ids].double()
        # the mean square of a row of the classifier, by some rows: reading every one takes as long as a layer
        self._row_size = float(classifier[:: len(classifier) // _ROWS + 1].double().square().sum(dim=1).mean())
        self._gap = self._values[..., 0] - self._values[..., 1]
        self._squares = torch.zeros_like(self._gap)
        self._draws = torch.zeros(self._gap.shape[1])

    @torch.no_grad()
    def add(self, h: torch.Tensor) -> None:
        """Add a draw: what the classifier reads (windows, positions, dim), with noise SCALE times as large, at the
        first positions."""
        first = slice(0, h.shape[1])
        sums = (h.double().unsqueeze(-2) * self._rows[:, first]).sum(dim=-1)
        moved = llama.finished(self._hyper, sums.clone(), Noise())
        movement = ((moved[..., 0] - moved[..., 1]) - self._gap[:, first]) / SCALE
        self._squares[:, first] += movement.square() + self._own(h.double(), sums, first)
        self._draws[first] += 1

    def _own(self, h: torch.Tensor, sums: torch.Tensor, first: slice) -> torch.Tensor:
        """Return the variance of the two logits by their own sums of products, added in index order as
        Noise.of_product has it, and by what follows the sums."""
        hyper, n = self._hyper, h.shape[-1]
        products = (h.unsqueeze(-2) * self._rows[:, first]).square().sum(dim=-1)
        own = (n / 6 + 1) * products + n / 3 * sums.square()
        values = self._values[:, first]
        if hyper.logit_divisor != 1 or hyper.logit_cap:
            slope = 1 / hyper.logit_divisor
            bend = 1 - (values / hyper.logit_cap).clamp(-1, 1).square() if hyper.logit_cap else 1.0
            own = own * (slope * bend) ** 2 + 5 * values.square()
        return own.sum(dim=-1) * ROUNDING_VARIANCE

    def window(self, row: int, noise: LogitNoise) -> WindowMargins:
        """Return the margins of one window. noise: what made the draws.

        A verdict makes one draw of most positions, which alone may show a hundredth of a variance. So the variance is
        the largest of three: the position's own draws; the mean of these and of the window's; and what the movement
        of all logits of the position, which one draw shows well, means for a row of the classifier as long as the
        difference of these two. Where both sides round, it is twice that of one.
        """
        own = self._squares[row] / self._draws
        apart = (self._rows[row, :, 0] - self._rows[row, :, 1]).square().sum(dim=-1)
        every = noise.movement(row).double() * apart / max(self._row_size, torch.finfo(torch.float64).tiny)
        variance = torch.maximum(torch.maximum(own, (own + own.mean()) / 2), every) * noise.rounders
        gap = self._gap[row]
        sigmas = torch.where(gap == 0, 0.0, gap / variance.sqrt())
        sigmas[noise.certainty(row).positions :] = 0
        first, second = self._ids[row].unbind(dim=-1)
        return WindowMargins(first.numpy(), second.numpy(), sigmas.numpy())
