"""Checks numbers that a config names."""

from __future__ import annotations

from pathlib import Path

from verify.sources.refusal import refusal


def count(where: Path, what: str, value: object) -> int:
    """Return a positive 32-bit integer. Raises CannotJudgeError for anything else."""
    if isinstance(value, bool) or not isinstance(value, int) or not 0 < value < 2**31:
        raise refusal(where, what, "a positive integer below 2^31", value)
    return value


def positive(where: Path, what: str, value: object) -> float:
    """Return a positive finite number. Raises CannotJudgeError for anything else."""
    # the bound also refuses integers that no float holds
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 < value < 1e300:
        raise refusal(where, what, "a positive finite number", value)
    return float(value)
