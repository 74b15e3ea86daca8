"""Measure how certain greedy text is: the margin between the first two logits, by the rounding of their difference.

The two logits move together under most roundings, so their difference is drawn itself. A margin of LIMIT standard
deviations or more certifies the position: every correct float32 engine chooses the first token there. That is a
statistical statement, as the check `execution` makes it, and not a proof.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from verify.checks.execution import LIMIT_SIGMAS
from verify.oracle import llama
from verify.oracle.rounding_noise import ROUNDING_VARIANCE, Noise
from verify.sources import Hyperparameters

DRAWS = 8
_SCALE = 32.0


@dataclass(frozen=True)
class Margins:
    """Holds arrays (windows, length): the two most likely tokens, and the margin in standard deviations."""

    first: NDArray[np.int64]
    second: NDArray[np.int64]
    sigmas: NDArray[np.float64]

    @property
    def certified(self) -> NDArray[np.bool_]:
        """Return where the first token is certain."""
        return self.sigmas >= LIMIT_SIGMAS


@torch.no_grad()
def margins(
    hyper: Hyperparameters,
    load: llama.Load,
    tokens: torch.Tensor,
    logits: NDArray[np.floating[Any]],
    seed: int,
    draws: int = DRAWS,
) -> Margins:
    """Measure the margins of tokens (windows, length).

    logits: the reference's (windows, length, vocab_size), on the weights that load returns. seed: of the noise.

    The variance of a position's difference is the mean of its own draws and of the window's mean: one position has
    few draws, and its neighbours have about the same noise. Where its own draws show more, they decide.
    """
    top = torch.from_numpy(np.asarray(logits)).topk(2, dim=-1)
    gap = (top.values[..., 0] - top.values[..., 1]).double()
    rows = load(llama.classifier(hyper))
    sides = tuple(rows[top.indices[..., side]].float() for side in range(2))
    squares = torch.zeros(gap.shape, dtype=torch.float64)
    for draw in range(draws):
        noise = Noise(draws=1, scale=_SCALE, seed=(seed << 8) + draw)
        x = llama.last_stream(hyper, load, tokens, torch.float32, noise)
        h = llama.final_norm(hyper, load, x, noise)
        moved = (h.double() * (sides[0].double() - sides[1].double())).sum(dim=-1)
        squares += ((moved - gap) / _SCALE).square()
        squares += sum(_own(h, w, y) for w, y in zip(sides, top.values.unbind(dim=-1), strict=True))
    own = squares / draws
    variance = torch.maximum(own, (own + own.mean(dim=1, keepdim=True)) / 2)
    sigmas = torch.where(gap > 0, gap / variance.sqrt(), torch.zeros_like(gap))
    first, second = (part.numpy() for part in top.indices.unbind(dim=-1))
    return Margins(first, second, sigmas.numpy())


def _own(h: torch.Tensor, w: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    """Return the variance of a logit's own sum of products, added in index order, as Noise.of_product has it."""
    n = h.shape[-1]
    products = (h.double() * w.double()).square().sum(dim=-1)
    return ((n / 6 + 1) * products + n / 3 * y.double().square()) * ROUNDING_VARIANCE
