"""Builds the one-line errors of the verifier's readers."""

from __future__ import annotations

from verify.errors import CannotJudgeError

_MOST_SHOWN = 200


def refusal(where: object, what: str, expected: object, found: object, advice: str = "") -> CannotJudgeError:
    """Return the error `where: what: expected X, found Y: advice`, ready to be raised; found is cut to 200
    characters."""
    shown = " ".join(str(found).split())[:_MOST_SHOWN]
    return CannotJudgeError(f"{where}: {what}: expected {expected}, found {shown}{advice and f': {advice}'}")
