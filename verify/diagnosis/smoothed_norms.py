"""Recognise factors that were moved from a norm into the matrices behind it, but not into all of them.

SmoothQuant divides a norm's weights by factors, and multiplies the columns of every matrix that reads it by them.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch

from verify.diagnosis import read_off_mistakes as r
from verify.diagnosis.bit_comparison import BitComparison
from verify.diagnosis.found_numbers import numbers_beside
from verify.diagnosis.result import Diagnosis, diagnosis_of_tensors

_READERS = {
    "attention_norm.weight": ("attention.wq.weight", "attention.wk.weight", "attention.wv.weight"),
    "ffn_norm.weight": ("feed_forward.w1.weight", "feed_forward.w3.weight"),
}
# What a number in each storage, and the factors of a norm in float32, may be off.
_OFF = {"fp32": 2.0**-20, "fp16": 2.0**-9, "bf16": 2.0**-6}


def diagnose_smoothed(compared: BitComparison, differing: Sequence[str]) -> Diagnosis | None:
    """Return the norms whose factors some of their matrices have, and others lack; None if there are none."""
    held: list[str] = []
    said = ""
    for norm, readers in _READERS.items():
        for name in (name for name in differing if name.endswith(f".{norm}")):
            factors = _factors(compared, name)
            layer = name.removesuffix(norm)
            matrices = [layer + reader for reader in readers if layer + reader in compared.shapes]
            if factors is None or any(compared.model.storage(one).storage not in _OFF for one in matrices):
                continue
            done = [one for one in matrices if one in differing and _has(compared, one, factors)]
            missed = [one for one in matrices if one not in differing]
            if done and missed and len(done) + len(missed) == len(matrices):
                held += [name, *done]
                which = {"done": _listed(done), "missed": _listed(missed)}
                said = said or r.SMOOTHED.of_file(norm=norm.removesuffix(".weight"), **which)
    if not held:
        return None
    return diagnosis_of_tensors(r.SMOOTHED.name, said, held, held, len(differing))


def _factors(compared: BitComparison, norm: str) -> torch.Tensor | None:
    """Return what each weight of a norm was divided by, (dim,), unless all were by the same."""
    blocks = [torch.cat((found, right), dim=1) for _, found, right in numbers_beside(compared, norm)]
    found, right = torch.cat(blocks).unbind(dim=1)
    if not (found != 0).all():
        return None
    factors = right / found
    return factors if float(factors.std()) > 0 and bool((factors > 0).all()) else None


def _listed(matrices: Sequence[str]) -> str:
    return " and ".join(name.split(".")[3] for name in matrices)


def _has(compared: BitComparison, matrix: str, factors: torch.Tensor) -> bool:
    off = _OFF[compared.model.storage(matrix).storage]
    return all(
        bool(((found - right * factors).abs() <= off * (right * factors).abs()).all())
        for _, found, right in numbers_beside(compared, matrix)
    )
