"""What to do next about a check that did not pass."""

from __future__ import annotations

from verify.checks.result import CheckResult
from verify.report.model import Report


def next_step(check: CheckResult, report: Report) -> str:
    return f"look at {check.name}"
