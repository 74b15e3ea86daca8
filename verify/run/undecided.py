"""Positions that no check on logits judges, because rounding decides which experts compute them."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, replace

from verify.checks.digits import counted
from verify.checks.result import CheckResult
from verify.oracle.routing import CERTAIN_SIGMAS, Certainty


@dataclass(frozen=True)
class Undecided:
    """Counts positions that were left out, in so many windows. margin: the smallest of all choices of experts, in
    standard deviations of rounding; None where a model has no choice."""

    positions: int = 0
    windows: int = 0
    margin: float | None = None

    @classmethod
    def of(cls, windows: Iterable[tuple[int, Certainty]]) -> Undecided:
        """Count those of windows, each with its length."""
        found = list(windows)
        left_out = [length - certainty.positions for length, certainty in found]
        margin = min((certainty.margin for _length, certainty in found), default=math.inf)
        return cls(sum(left_out), sum(map(bool, left_out)), margin if math.isfinite(margin) else None)

    def beside(self, check: CheckResult) -> CheckResult:
        """Return a check on logits whose detail also says what was left out."""
        if not self.positions:
            return check
        said = (
            f"{counted(self.positions, 'position')} in {counted(self.windows, 'window')} not judged: from there on, "
            f"rounding may choose other experts (smallest margin {self.margin or 0:.2g} of the {CERTAIN_SIGMAS:g} "
            "standard deviations that make a choice certain)"
        )
        return replace(check, detail=f"{check.detail}; {said}")
