"""Recognise Q8_0 that is right by its own scales: what is wrong is how the scales were chosen."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import torch

from verify.diagnosis import read_off_mistakes as m
from verify.diagnosis.bit_comparison import BitComparison
from verify.diagnosis.derivation import Derivation, Parts, Rows
from verify.diagnosis.tensor_mistakes import TensorMistake

# A scale further away than this is no choice of a quantizer.
_LEAST, _MOST = 0.2, 5.0
_SAME = 1e-5
_CLIPS = 1 - _SAME


def own_scales(compared: BitComparison, name: str) -> Iterator[TensorMistake]:
    """Propose the file's own scales, if each is within reason."""
    if compared.model.storage(name).storage != "q8_0":
        return
    ratios = _ratios(compared, name)
    if ratios is None or not len(ratios) or float(ratios.min()) < _LEAST or float(ratios.max()) > _MOST:
        return
    # a few other scales are damage, not a choice
    if float(((ratios - 1).abs() > _SAME).double().mean()) < 0.5:
        return
    derivations = tuple(_by_own(compared, least, away=away) for least in (-127, -128) for away in (False, True))
    yield TensorMistake(m.SCALES_CHOSEN, derivations, seen=_described)


def _ratios(compared: BitComparison, name: str) -> torch.Tensor | None:
    """Return the file's scales over the right ones, of groups that are not all zeros; None if one is not finite."""
    scale = _scales(compared, name).double()
    size = compared.model.storage(name).group_size
    peak = compared.weights(name).unflatten(1, (-1, size)).abs().amax(dim=2).double()
    if not torch.isfinite(scale).all() or not bool((scale > 0)[peak > 0].all()):
        return None
    ratios: torch.Tensor = scale * 127 / peak
    return ratios[peak > 0]


def _scales(compared: BitComparison, name: str) -> torch.Tensor:
    with np.errstate(invalid="ignore"):
        return torch.from_numpy(compared.found(name)["scale"].copy().view("f4"))


def _by_own(compared: BitComparison, least: int, *, away: bool) -> Derivation:
    def derive(rows: Rows) -> Parts | None:
        if rows.storage != "q8_0":
            return None
        scale = _scales(compared, rows.name)[rows.first : rows.last]
        grouped = rows.own.unflatten(1, (-1, rows.group_size))
        quotient = grouped / torch.where(scale == 0, 1, scale).unsqueeze(2)
        q = quotient.sign() * (quotient.abs() + 0.5).floor() if away else quotient.round()
        return {"int8": q.clamp(least, 127).to(torch.int8).view(rows.own.shape), "scale": scale}

    return derive


def _described(compared: BitComparison, names: Sequence[str]) -> dict[str, object]:
    parts = [found for name in names if (found := _ratios(compared, name)) is not None]
    ratios = torch.cat(parts)
    low, high = float(ratios.min()), float(ratios.max())
    clipped = ", so that the largest values are clipped" if low < _CLIPS else ""
    return {"low": low, "high": high, "clipped": clipped}
