"""Recognise a model whose weights were never loaded: its norms are ones, its matrices what a program starts with."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from verify.diagnosis import read_off_mistakes as r
from verify.diagnosis.bit_comparison import BitComparison
from verify.diagnosis.found_numbers import numbers_from
from verify.diagnosis.mistakes import CONSTANT, ZEROS
from verify.diagnosis.resemblance import resemblance
from verify.diagnosis.result import Diagnosis, diagnosis_of_tensors


def never_loaded(compared: BitComparison, differing: Sequence[str], best: Diagnosis) -> Diagnosis | None:
    """Return that no differing tensor was loaded, if the others beside constant vectors are unrelated or zeros.

    best: the diagnosis of the constant ones, or of the zeros.
    """
    if best.signature not in (CONSTANT.name, ZEROS.name) or best.explained == 1:
        return None
    norms = [name for name in differing if "norm" in name]
    if not norms or len(norms) == len(differing) or not all(_is_started(compared, name) for name in differing):
        return None
    zeros = all(resemblance(compared, name).size == 0 for name in differing if len(compared.shapes[name]) == 2)
    what = r.NEVER_LOADED.of_file(matrices="zeros" if zeros else "numbers unrelated to the source's")
    found = diagnosis_of_tensors(r.NEVER_LOADED.name, what, differing, differing, len(differing))
    return replace(found, explained=best.explained)


def _is_started(compared: BitComparison, name: str) -> bool:
    """Return whether a norm is ones, a bias zeros, or a matrix zeros or unrelated to the source's."""
    if len(compared.shapes[name]) == 1:
        found, _ = numbers_from(compared, name, 0, compared.shapes[name][0])
        return bool((found == (1.0 if "norm" in name else 0.0)).all())
    seen = resemblance(compared, name)
    return seen.size == 0 or seen.unrelated
