"""Derive Q8_0 as other quantizers make it: with zero points, signed scales, wider groups, or displaced int8."""

from __future__ import annotations

import torch

from verify.diagnosis.conversions import requantized
from verify.diagnosis.derivation import Derivation, Parts, Rows
from verify.oracle.expected import quantized


def zero_point(*, with_zero: bool, rounded_apart: bool, unsigned: bool) -> Derivation:
    """Derive int8 from the least to the largest value of each group.

    with_zero: the range is widened to contain zero. rounded_apart: weight and zero point are rounded each by itself,
    not their sum. unsigned: from 0 to 255, as the same bits.
    """

    def derive(rows: Rows) -> Parts | None:
        if rows.storage != "q8_0":
            return None
        grouped = rows.own.view(len(rows.own), -1, rows.group_size)
        low, high = grouped.amin(dim=2, keepdim=True), grouped.amax(dim=2, keepdim=True)
        if with_zero:
            low, high = low.clamp(max=0), high.clamp(min=0)
        scale = (high - low) / 255
        divisor = torch.where(scale == 0, 1, scale)
        least = 0 if unsigned else -128
        if rounded_apart:
            q = (grouped / divisor).round() + (least - (low / divisor).round())
        else:
            q = ((grouped - low) / divisor).round() + least
        q = q.clamp_(least, least + 255).to(torch.int16).to(torch.int8)
        return {"int8": q.view(rows.own.shape), "scale": scale.squeeze(2)}

    return derive


ZERO_POINTS = tuple(
    zero_point(with_zero=with_zero, rounded_apart=rounded_apart, unsigned=unsigned)
    for with_zero in (False, True)
    for rounded_apart in (True, False)
    for unsigned in (False, True)
)


def signed_scales(divisor: int) -> Derivation:
    """Derive scales that are the value of largest magnitude over a divisor, as ggml's Q4_0 and Q5_0 have them."""
    return requantized(lambda extreme: extreme / divisor, peak_of=_extreme, least=-128)


def _extreme(rows: Rows, _peak: torch.Tensor) -> torch.Tensor:
    grouped = rows.own.view(len(rows.own), -1, rows.group_size)
    return grouped.gather(2, grouped.abs().argmax(dim=2, keepdim=True)).squeeze(2)


def wider_groups(times: int) -> Derivation:
    """Derive scales of so many neighbouring groups together."""

    def peak_of(_rows: Rows, peak: torch.Tensor) -> torch.Tensor:
        wide: torch.Tensor = peak.unflatten(1, (-1, times)).amax(dim=2)
        return wide.repeat_interleave(times, dim=1)

    def derive(rows: Rows) -> Parts | None:
        per_row = rows.weights.shape[1] // rows.group_size if rows.group_size else 0
        return recipe(rows) if per_row and per_row % times == 0 else None

    recipe = requantized(peak_of=peak_of)
    return derive


def int8_plus(by: int, *, wrapped: bool) -> Derivation:
    """Derive the right scales, and int8 with a number added, clamped or wrapped."""

    def derive(rows: Rows) -> Parts | None:
        if rows.storage != "q8_0":
            return None
        right = rows.healthy()
        wide = right["int8"].to(torch.int16) + by
        return {**right, "int8": (wide if wrapped else wide.clamp(-128, 127)).to(torch.int8)}

    return derive


def int8_moved(by: int) -> Derivation:
    """Derive the right scales, and each int8 so many places later in the tensor."""

    def derive(rows: Rows) -> Parts | None:
        if rows.storage != "q8_0":
            return None
        index = torch.arange(rows.first - 1, rows.last + 1) % len(rows.weights)
        # the roll wraps around only within the rows that are dropped below
        q = quantized(rows.weights[index], rows.group_size)[0]
        return {**rows.healthy(), "int8": q.flatten().roll(by).view_as(q)[1:-1]}

    return derive


def int8_moved_in_rows(by: int) -> Derivation:
    """Derive the right scales, and each int8 so many places later in its row; the last one comes first."""

    def derive(rows: Rows) -> Parts | None:
        if rows.storage != "q8_0":
            return None
        right = rows.healthy()
        return {**right, "int8": right["int8"].roll(by, dims=1)}

    return derive
