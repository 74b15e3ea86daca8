"""Measure how certain greedy text is: the margin between the first two logits, by the rounding of their difference.

The two logits move together under most roundings, so their difference is drawn itself. A margin of LIMIT_SIGMAS or
more certifies the position: every correct float32 engine chooses the first token there. That is a statistical
statement, as the check `execution` makes it, and not a proof.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from verify.checks.execution import LIMIT_SIGMAS
from verify.oracle import llama
from verify.oracle.logit_sigma import SCALE
from verify.oracle.rounding_noise import ROUNDING_VARIANCE, Noise
from verify.sources import Hyperparameters


class Margins:
    """Gathers draws of noise for windows of one length; all results are arrays (windows, length)."""

    def __init__(self, hyper: Hyperparameters, load: llama.Load, logits: NDArray[np.floating[Any]]) -> None:
        """logits: the reference's (windows, length, vocab_size), on the weights that load returns."""
        top = torch.from_numpy(np.asarray(logits)).topk(2, dim=-1)
        rows = load(llama.classifier(hyper))
        self._hyper = hyper
        self._values, self._ids = top.values.double(), top.indices
        self._rows = rows[top.indices].double()
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

    @property
    def first(self) -> NDArray[np.int64]:
        """Return the most likely tokens."""
        return self._ids[..., 0].numpy()

    @property
    def sigmas(self) -> NDArray[np.float64]:
        """Return the margins in standard deviations.

        The variance of a position's difference is the mean of its own draws and of the window's: one position has
        few draws, and its neighbours have about the same noise. Where its own draws show more, they decide.
        """
        own = self._squares / self._draws
        variance = torch.maximum(own, (own + own.mean(dim=1, keepdim=True)) / 2)
        margins: NDArray[np.float64] = torch.where(self._gap > 0, self._gap / variance.sqrt(), 0.0).numpy()
        return margins

    @property
    def certified(self) -> NDArray[np.bool_]:
        """Return where the first token is certain."""
        return self.sigmas >= LIMIT_SIGMAS
