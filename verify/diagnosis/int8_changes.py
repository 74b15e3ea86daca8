"""Propose changes of one part of Q8_0 beside which the other part is right, as the last of the fits."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import torch

from verify.diagnosis import conversions as c
from verify.diagnosis import read_off_mistakes as r
from verify.diagnosis.bit_comparison import BitComparison
from verify.diagnosis.derivation import Derivation, Parts, Rows
from verify.diagnosis.tensor_mistakes import TensorMistake

# Parts of which fewer differ are damaged.
_MOST = 0.5
_SAME = 1e-5
# int8 of which fewer are one off are damage, too.
_SOME = 0.02


def part_changes(compared: BitComparison, name: str) -> Iterator[TensorMistake]:
    """Propose int8 that are cut, written in another way or rounded in another way, then any other scales."""
    how = compared.model.storage(name)
    if how.storage != "q8_0":
        return
    found = compared.found(name)["int8"].view(np.int8)
    least, most = int(found.min()), int(found.max())
    if -127 < least < most < 127:
        fields = (("least", str(least)), ("most", str(most)))
        clipped = c.changed("int8", change=lambda part: part.clamp(least, most))
        yield TensorMistake(r.INT8_CLIPPED, (clipped,), fields=fields)
    signed = c.changed("int8", change=lambda part: torch.where(part < 0, (-part) | -128, part))
    yield TensorMistake(r.INT8_SIGN_AND_MAGNITUDE, (signed,))
    yield TensorMistake(r.INT8_ROUNDED, (_near(compared),), seen=_share)
    right = compared.rows(name, 0, how.shape[0]).healthy()["scale"].double()
    scale = _scales(compared, name)
    if not torch.isfinite(scale).all():
        return
    reordered = torch.equal(scale.flatten().sort().values, right.flatten().sort().values)
    if not reordered and float((scale != right).double().mean()) >= _MOST:
        yield TensorMistake(r.SCALES_DIFFER, (_own_scales(compared),), seen=_described)


def _scales(compared: BitComparison, name: str) -> torch.Tensor:
    with np.errstate(invalid="ignore"):
        return torch.from_numpy(compared.found(name)["scale"].copy().view("f4")).double()


def _int8(compared: BitComparison, rows: Rows) -> torch.Tensor:
    return torch.from_numpy(compared.found(rows.name)["int8"][rows.first : rows.last].copy().view(np.int8))


def _near(compared: BitComparison) -> Derivation:
    """Derive the file's own int8 if they are at most one off, and many are."""

    def derive(rows: Rows) -> Parts | None:
        if rows.storage != "q8_0":
            return None
        right, own = rows.healthy(), _int8(compared, rows)
        off = (right["int8"].short() - own.short()).abs()
        many = float((off > 0).double().mean()) >= _SOME
        return {**right, "int8": own} if int(off.max()) == 1 and many else right

    return derive


def _own_scales(compared: BitComparison) -> Derivation:
    def derive(rows: Rows) -> Parts | None:
        if rows.storage != "q8_0":
            return None
        scale = compared.found(rows.name)["scale"][rows.first : rows.last].copy().view("f4")
        return {**rows.healthy(), "scale": torch.from_numpy(scale)}

    return derive


def _share(compared: BitComparison, names: Sequence[str]) -> dict[str, object]:
    off = count = 0
    for name in names:
        rows = compared.rows(name, 0, compared.model.storage(name).shape[0])
        wrong = rows.healthy()["int8"] != _int8(compared, rows)
        off, count = off + int(wrong.sum()), count + wrong.numel()
    return {"share": f"{100 * off / count:.2g} %"}


def _described(compared: BitComparison, names: Sequence[str]) -> dict[str, object]:
    scales, ratios = [], []
    for name in names:
        right = compared.rows(name, 0, compared.model.storage(name).shape[0]).healthy()["scale"].double()
        scales.append(_scales(compared, name).flatten())
        ratios.append((_scales(compared, name) / right)[right != 0].flatten())
    if all(float(values.min()) == float(values.max()) for values in scales):
        same = len({float(values[0]) for values in scales}) == 1
        return {"what": f"{float(scales[0][0]):.6g} everywhere" if same else "one number for all groups of a tensor"}
    times = torch.cat(ratios)
    low, high = float(times.min()), float(times.max())
    if abs(low - 1) < _SAME and abs(high - 1) < _SAME:
        return {"what": "a few roundings off"}
    if abs(high / low - 1) < _SAME:
        return {"what": f"{float(times.median()):.6g} times the right ones"}
    return {"what": f"{low:.3g} to {high:.3g} times the right ones"}
