"""Recognise tensors that are each multiplied by a factor of its own, such as one that follows from the layer."""

from __future__ import annotations

from collections.abc import Sequence

from verify.diagnosis import read_off_mistakes as r
from verify.diagnosis.affine_fits import lines
from verify.diagnosis.bit_comparison import BitComparison
from verify.diagnosis.mistakes import SCALED
from verify.diagnosis.result import Diagnosis, diagnosis_of_tensors

# Factors that a sentence lists.
_LISTED = 4


def diagnose_factors(compared: BitComparison, differing: Sequence[str]) -> Diagnosis | None:
    """Return the tensors that have some factor each; None unless there are two factors or more."""
    factors: dict[str, str] = {}
    for name in differing:
        for line in lines(compared, name):
            if line.mistake is SCALED and line.explains(compared, name):
                factors[name] = dict(line.fields)["factor"]
                break
    if len(set(factors.values())) < 2:
        return None
    shown = [f"{factor} in {name}" for name, factor in factors.items()]
    listed = ", ".join(shown[:_LISTED]) + (", ..." if len(shown) > _LISTED else "")
    what = r.FACTORS_OF_TENSORS.of_file(factors=listed)
    names = list(factors)
    return diagnosis_of_tensors(r.FACTORS_OF_TENSORS.name, what, names, names, len(differing))
