"""Compare an engine with int8 activations with the reader on many sequences of two tokens.

oracle/int8_probes.py says why: at the first positions, rounding seldom turns an activation, and a fault that moves
every position shows in every sequence. The draws round more than healthy engines do. So an engine that begins to
differ more often than they do, by more than chance explains, does something else than round.

The first position has no attention to speak of: its one score has the share 1. So the share of probes that differ
there tells how coarsely the engine rounds, and the draws of the second position round no coarser outside attention.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from verify.oracle.int8_probes import DRAWS, Hazard

LENGTH = 2
# Probes of a batch, and batches if the first ones are suspicious: one in ten by chance.
PROBES = 48
BATCHES = 4
_SUSPICIOUS = 1.0
# The rounding of an engine is taken from the share of its probes that differ, and so many standard deviations more.
_SURE = 2.0

# sequences -> the logits of each (length, vocab_size)
Run = Callable[[Sequence[NDArray[np.int64]]], list[NDArray[np.float32]]]
# (tokens, scale of roundings outside attention, seed) -> hazard of the last position
MeasureHazard = Callable[[torch.Tensor, float, int], Hazard]


@dataclass(frozen=True)
class Begun:
    """Counts where probes begin to differ at one position: of the engine, and of draws."""

    engine: int = 0
    probes: int = 0
    turned: int = 0
    draws: int = 0

    def plus(self, begun: NDArray[np.bool_], turned: NDArray[np.int64]) -> Begun:
        """Add probes that agree up to the position: whether each begins to differ, and how many of its draws do."""
        return Begun(
            self.engine + int(begun.sum()),
            self.probes + len(begun),
            self.turned + int(turned.sum()),
            self.draws + DRAWS * len(turned),
        )

    @property
    def unlikely(self) -> float:
        """Return -log10 of the probability that so many of the engine's probes are among those that differ.

        If the engine differs as often as the draws do, it holds a random sample of all that differ.
        """
        total, differing = self.probes + self.draws, self.engine + self.turned
        most = min(self.probes, differing)
        ways = [
            _log_choose(differing, count) + _log_choose(total - differing, self.probes - count)
            for count in range(self.engine, most + 1)
            if self.probes - count <= total - differing
        ]
        largest = max(ways)
        tail = largest + math.log(sum(math.exp(way - largest) for way in ways)) - _log_choose(total, self.probes)
        return max(0.0, -tail / math.log(10))

    @property
    def scale(self) -> float:
        """Return how coarsely the engine rounds, relative to the draws: at most 1."""
        share = self.engine / self.probes
        share += (_SURE**2 + _SURE * math.sqrt(self.probes * share * (1 - share))) / self.probes
        of_draws = self.turned / self.draws
        if not 0 < of_draws < 1 or share >= of_draws:
            return 1.0
        # the expected numbers of turns are proportional to the roundings
        return math.log1p(-share) / math.log1p(-of_draws)


def try_probes(
    engine: Run, reader: Run, hazard: MeasureHazard, vocab_size: int, longest: int, seed: list[int]
) -> tuple[Begun, ...]:
    """Return what the probes show at each position. Tokens follow from seed. longest: tokens that the file allows."""
    rng = np.random.default_rng(seed)
    length = min(LENGTH, longest)
    counts = [Begun()] * length
    for batch in range(BATCHES):
        tokens = rng.integers(0, vocab_size, (PROBES, length))
        rows = list(tokens)
        difference = np.abs(np.stack(engine(rows)) - np.stack(reader(rows)))
        agreeing = np.ones(PROBES, np.bool_)
        for position in range(length):
            scale = counts[0].scale if position else 1.0
            found = hazard(torch.from_numpy(tokens[:, : position + 1]), scale, batch)
            # a NaN differs
            begun = np.logical_not((difference[:, position] <= found.moved.numpy()).all(1))
            counts[position] = counts[position].plus(begun[agreeing], found.turned.numpy()[agreeing])
            agreeing &= ~begun
        if max(count.unlikely for count in counts) < _SUSPICIOUS:
            break
    return tuple(counts)


def _log_choose(n: int, k: int) -> float:
    return math.lgamma(n + 1) - math.lgamma(k + 1) - math.lgamma(n - k + 1)
