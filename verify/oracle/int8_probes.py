"""Measure how often float32 rounding alone turns an activation at the first positions of short sequences.

A *probe* is a sequence of a few tokens. In long windows of large models some activation turns for certain, so two
healthy engines with int8 activations differ in nearly every logit, and a small fault hides in these differences. At
the first positions turns are rare: of probes of one token through SmolLM2, a healthy engine differs from the reader
in 0 to 8 of 10, and an engine with a fault that moves every position differs in all.

Draws measure the *hazard* of a position: how often an engine that agrees up to it begins to differ there. In these
draws the activations of earlier positions keep the steps of the clean pass, and those of the last one turn as they do
in an engine that adds up floats in index order, which rounds most. The clean pass rounds too, in an order of its own,
and stands for the reader.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch

from verify.oracle import llama
from verify.oracle.int8_noise import ENLARGED, DrawsNoise, GroupSize, Int8Activations, half_away, pooled_sigma
from verify.oracle.rounding_noise import largest
from verify.sources import Hyperparameters

# Draws in which every activation keeps its step, for the spread of logits without turns; and draws that may turn.
_FROZEN = 2
DRAWS = 3
# Rows of a pass for each probe: the clean one and its draws.
ROWS = 1 + _FROZEN + DRAWS
# A logit that moves by more standard deviations than this has moved by a turn.
_TURNED = 10.0
# The scores of attention have windows, kv heads, queries of each, and two axes of positions.
_SCORES_AXES = 5


@dataclass(frozen=True)
class Hazard:
    """Says how often probes begin to differ at their last position.

    moved: by how much a logit moves without turns, at most (probes, vocab_size). turned: in how many of DRAWS draws
    something turned (probes,), int64.
    """

    moved: torch.Tensor
    turned: torch.Tensor


@torch.no_grad()
def probe_hazard(
    hyper: Hyperparameters, load: llama.Load, group_size: GroupSize, tokens: torch.Tensor, scale: float, seed: int
) -> Hazard:
    """Measure the hazard of the last position of probes (probes, length).

    load, group_size: as in int8_spread(). scale: of the roundings outside attention, relative to sums in index order.
    """
    probes, length = tokens.shape
    # of each draw, the positions that keep the choices of the clean pass
    kept = [length] * _FROZEN + [length - 1] * DRAWS
    noise = _ProbesNoise(probes, scale, seed, kept)
    activations = _Activations(group_size, noise, kept)
    logits = llama.logits(hyper, load, tokens.repeat(1 + noise.draws, 1), torch.float32, noise, activations)
    last = logits[:, -1].unflatten(0, (-1, probes))
    clean, moved = last[0], last[1:] - last[0]
    sigma = pooled_sigma(moved[:_FROZEN], clean, hyper.dim).mul_(_TURNED)
    return Hazard(sigma, (moved[_FROZEN:].abs() > sigma).any(-1).sum(0))


class _ProbesNoise(DrawsNoise):
    """Noise of which the roundings outside attention are scaled in the draws that may turn."""

    def __init__(self, probes: int, scale: float, seed: int, kept: list[int]) -> None:
        super().__init__([ENLARGED] * _FROZEN + [1.0] * DRAWS, seed, clean=probes)
        self._kept = kept
        self._in_attention, self._outside = self._scales, self._scales.clone()
        self._outside[_FROZEN:] *= scale

    def rounded(self, y: torch.Tensor, roundings: float = 1.0) -> torch.Tensor:
        with self._scaled(y.ndim != _SCORES_AXES):
            return super().rounded(y, roundings)

    def product(self, y: torch.Tensor, a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
        with self._scaled(b.ndim == 2):
            return super().product(y, a, b)

    def of_experts(self, y: torch.Tensor, size: torch.Tensor) -> torch.Tensor:
        with self._scaled(True):
            return super().of_experts(y, size)

    def chosen(self, _layer: int, logits: torch.Tensor, count: int) -> torch.Tensor:
        chosen = largest(logits, count).unflatten(0, (1 + self.draws, -1))
        for draw, kept in enumerate(self._kept, 1):
            chosen[draw, :, :kept] = chosen[0, :, :kept]
        return chosen.flatten(0, 1)  # type: ignore[no-any-return]

    @contextmanager
    def _scaled(self, outside: bool) -> Iterator[None]:
        self._scales = self._outside if outside else self._in_attention
        try:
            yield
        finally:
            self._scales = self._in_attention


class _Activations(Int8Activations):
    """Rounds probes; kept: of each draw, the positions that keep the steps of the clean pass."""

    def __init__(self, group_size: GroupSize, noise: DrawsNoise, kept: list[int]) -> None:
        super().__init__(group_size)
        self._noise, self._kept = noise, kept

    def _steps(self, quotient: torch.Tensor) -> torch.Tensor:
        # the roundings of the scale and of the quotient
        steps = half_away(self._noise.rounded(quotient, roundings=2)).unflatten(0, (1 + self._noise.draws, -1))
        for draw, kept in enumerate(self._kept, 1):
            steps[draw, :, :kept] = steps[0, :, :kept]
        return steps.flatten(0, 1)  # type: ignore[no-any-return]
