"""Say what was found about greedy text, for people."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from pathlib import Path

from verify.checks.digits import counted
from verify.checks.execution import LIMIT_SIGMAS
from verify.evidence.tokenizers import decode
from verify.vectors.choices import Choice, Judged
from verify.vectors.engine_outputs import Output

# Ties that are named.
_NAMED = 8

Spelled = Callable[[int], str]


def spelling(tokenizer: Path) -> Spelled:
    """Return what spells a token: its id and, where a tokenizer is there, its text."""

    def spelled(token: int) -> str:
        text = decode(tokenizer, [token])
        return f"{token} {text!r}" if text else str(token)

    return spelled


def of_output(output: Output, judged: Judged, spelled: Spelled) -> str:
    """Say whether a correct engine may have given an output."""
    if judged.defect is not None:
        return f"{output.name}: {_defect(judged.defect, spelled)}"
    if judged.logit is not None and judged.logit.sigmas > LIMIT_SIGMAS:
        at = judged.logit.where
        return (
            f"{output.name}: a defect: logit {at['index']} at position {at['position']}: expected "
            f"{at['expected']:.9g}, found {at['found']:.9g}: {judged.logit.sigmas:.3g} standard deviations"
        )
    found = judged.certificates
    said = (
        f"{output.name}: no defect: {counted(found.positions, 'token')}, of which every correct engine chooses "
        f"{found.certified}"
    )
    if judged.ties:
        named = ", ".join(str(tie.position) for tie in judged.ties[:_NAMED])
        more = len(judged.ties) - _NAMED
        said += f"; a tie within rounding at position {named}{f' and {more} more' if more > 0 else ''}"
    if judged.logit is not None:
        said += f"; the worst logit: {judged.logit.sigmas:.3g} of {LIMIT_SIGMAS:g} standard deviations"
    return said


def defect_of(position: int, outputs: Sequence[Output], judged: Sequence[Judged]) -> list[str]:
    """Return the names of the outputs whose choice at a position is a defect."""
    return [
        output.name
        for output, found in zip(outputs, judged, strict=True)
        if found.defect is not None and found.defect.position == position
    ]


def of_parting(position: int, outputs: tuple[Output, Output], judged: Sequence[Judged], spelled: Spelled) -> str:
    """Say what it means that two engines part. position: the first where they chose different tokens."""
    one, other = outputs
    said = (
        f"{one.name} and {other.name} part at position {position}: {spelled(int(one.chosen[position]))} and "
        f"{spelled(int(other.chosen[position]))}: "
    )
    if guilty := defect_of(position, outputs, judged):
        return f"{said}a defect of {' and of '.join(guilty)}"
    apart = max((tie.sigmas for found in judged for tie in found.ties if tie.position == position), default=0.0)
    return f"{said}a tie within rounding, {apart:.3g} standard deviations"


def _defect(choice: Choice, spelled: Spelled) -> str:
    exact = math.isinf(choice.sigmas)
    margin = "other bits" if exact else f"margin {choice.sigmas:.3g} standard deviations"
    return (
        f"a defect: {margin} at position {choice.position}: expected "
        f"{spelled(choice.expected)}, as every correct engine chooses, found {spelled(choice.chosen)}"
    )
