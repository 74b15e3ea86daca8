"""What one check found."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any, Literal

Status = Literal["pass", "fail", "skipped"]
Bound = Literal["exact", "rigorous", "statistical", "first-order", "policy"]

# Every check there is, in the order in which they run.
CHECKS = ("config", "file", "tensors", "operations", "execution", "engine", "quantization", "baseline")


@dataclass(frozen=True)
class CheckResult:
    """observed must not pass limit; utilisation is their ratio, and the smallest factor on the limit that
    would have passed. where names tensor, index, position, ... of the finding."""

    name: str
    status: Status
    bound: Bound
    observed: float | None
    limit: float | None
    detail: str
    where: dict[str, Any] = field(default_factory=dict)

    @property
    def utilisation(self) -> float | None:
        if self.observed is None or not self.limit:
            return None
        return self.observed / self.limit


def skipped(name: str, bound: Bound, reason: str) -> CheckResult:
    return CheckResult(name, "skipped", bound, None, None, reason)


def exact(name: str, findings: int, detail: str, where: dict[str, Any] | None = None) -> CheckResult:
    """A check that tolerates nothing: it passes on zero findings."""
    return CheckResult(name, "fail" if findings else "pass", "exact", float(findings), 0.0, detail, where or {})


def within(
    name: str, bound: Bound, observed: float, limit: float, detail: str, where: dict[str, Any] | None = None
) -> CheckResult:
    """A check with a limit. A NaN on either side fails."""
    fine = math.isfinite(observed) and math.isfinite(limit) and observed <= limit
    return CheckResult(name, "pass" if fine else "fail", bound, observed, limit, detail, where or {})
