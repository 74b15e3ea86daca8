"""Define the result of a check."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any, Literal

Status = Literal["pass", "fail", "skipped"]
Bound = Literal["exact", "rigorous", "statistical", "first-order", "policy"]

# Every check, in the order in which they run.
CHECKS = (
    "config",
    "file",
    "tokenizer",
    "tensors",
    "operations",
    "execution",
    "engine",
    "storage",
    "quantization",
    "coverage",
    "baseline",
)


def checks_made(
    *, directory: bool, engine: bool, coverage: bool, baseline: bool, tokenizer: bool = False
) -> tuple[str, ...]:
    """Return the checks of a verdict in their order; one that cannot run is among them, as skipped.

    directory: what is judged is one. transformers, which runs it, records no operations. engine, baseline: the user
    gives one. coverage: the policy demands some. tokenizer: the file holds one, or the user gives one.
    """
    made = {
        "tokenizer": tokenizer,
        "operations": not directory,
        "engine": engine,
        "coverage": coverage,
        "baseline": baseline,
    }
    return tuple(name for name in CHECKS if made.get(name, True))


@dataclass(frozen=True)
class CheckResult:
    """Holds the result of one check.

    observed must not exceed limit; a check that passes without a limit has one that a policy could set, and does not.
    where: tensor, index, position, ... of the finding.
    """

    name: str
    status: Status
    bound: Bound
    observed: float | None
    limit: float | None
    detail: str
    where: dict[str, Any] = field(default_factory=dict)

    @property
    def utilisation(self) -> float | None:
        """Return observed / limit, the smallest factor on the limit that would have passed; None without a limit
        above 0."""
        if self.observed is None or not self.limit:
            return None
        return self.observed / self.limit


def skipped(name: str, bound: Bound, reason: str) -> CheckResult:
    """Return the result of a check that could not run."""
    return CheckResult(name, "skipped", bound, None, None, reason)


def exact(name: str, findings: int, detail: str, where: dict[str, Any] | None = None) -> CheckResult:
    """Return the result of a check without tolerance: it passes on zero findings."""
    return CheckResult(name, "fail" if findings else "pass", "exact", float(findings), 0.0, detail, where or {})


def without_limit(name: str, bound: Bound, observed: float, detail: str, where: dict[str, Any]) -> CheckResult:
    """Return the result of a check for which the policy sets no limit: it passes whatever was observed."""
    return CheckResult(name, "pass", bound, observed, None, detail, where)


def within(
    name: str, bound: Bound, observed: float, limit: float, detail: str, where: dict[str, Any] | None = None
) -> CheckResult:
    """Return the result of a check with a limit. A NaN on either side fails."""
    fine = math.isfinite(observed) and math.isfinite(limit) and observed <= limit
    return CheckResult(name, "pass" if fine else "fail", bound, observed, limit, detail, where or {})
