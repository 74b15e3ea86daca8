"""Estimate the time that is left, from a plan of stages and from what was measured so far."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping

# Below this share of a stage, its own speed says little.
_SURE = 0.05
# Predicted seconds, as a share of all, that count as measured at the predicted speed: one fast step decides nothing.
_PRIOR = 0.002


class Estimate:
    """Says how far a run is and how long it will take.

    Stages follow each other: one has ended when the next begins. planned: whether a plan is known; before that, there
    is no estimate.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._begun = clock()
        self._plan: dict[str, float] = {}
        self.planned = False
        # measured before the plan, and predicted of the stages that have ended since
        self._before, self._planned_at, self._ended = 0.0, 0.0, 0.0
        self.stage = ""
        self._stage_begun, self._share = self._begun, 0.0

    @property
    def in_plan(self) -> bool:
        """Return whether the stage is one of the plan."""
        return self.stage in self._plan

    @property
    def elapsed(self) -> float:
        """Return the seconds since the beginning."""
        return self._clock() - self._begun

    @property
    def in_stage(self) -> float:
        """Return the seconds since the stage began."""
        return self._clock() - self._stage_begun

    @property
    def share_of_stage(self) -> float:
        """Return how much of the stage is done, 0 to 1."""
        return self._share

    def plan(self, seconds: Mapping[str, float]) -> None:
        """Set the predicted seconds of the stages from here on."""
        self._plan, self.planned = dict(seconds), True
        self._before, self._planned_at, self._ended = self.elapsed, self._clock(), 0.0

    def update(self, stage: str, done: int, total: int) -> None:
        """Report that so much of a stage is done."""
        if stage != self.stage:
            self._ended += self._plan.pop(self.stage, 0.0)
            self.stage, self._stage_begun = stage, self._clock()
        self._share = done / total if total else 1.0

    @property
    def share(self) -> float | None:
        """Return how much of everything is done, 0 to 1; None before the plan is known."""
        if not self.planned:
            return None
        done, left = self._work()
        return (self._before + done) / max(self._before + done + left, 1e-9)

    @property
    def left(self) -> float | None:
        """Return the seconds that are left; None before the plan is known."""
        if not self.planned:
            return None
        done, left = self._work()
        prior = _PRIOR * (done + left)
        measured = self._clock() - self._planned_at
        slowness = (measured + prior) / max(done + prior, 1e-9)
        of_stage = self._plan.get(self.stage, 0.0) * (1 - self._share)
        if self._share < _SURE:
            return left * slowness
        # the stage goes on at its own speed, and later ones at the mean speed
        return self.in_stage * (1 - self._share) / self._share + (left - of_stage) * slowness

    def _work(self) -> tuple[float, float]:
        """Return the predicted seconds of what is done since the plan, and of what is left."""
        of_stage = self._plan.get(self.stage, 0.0)
        return self._ended + of_stage * self._share, sum(self._plan.values()) - of_stage * self._share


def in_words(seconds: float) -> str:
    """Write a time as people say it: 45 s, 2 min 10 s, 1 h 5 min."""
    whole = max(0, round(seconds))
    if whole < 60:
        return f"{whole} s"
    minutes, rest = divmod(whole, 60)
    if minutes < 60:
        return f"{minutes} min {rest} s" if rest else f"{minutes} min"
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if minutes else f"{hours} h"
