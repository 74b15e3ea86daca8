"""Mistakes with numbers: Q8_0 by another recipe, roundings on the way, parts stored in another way."""

from __future__ import annotations

from collections.abc import Callable

import torch

from verify.diagnosis.case import Derivation, Parts, Rows
from verify.oracle.expected import numbers, quantized

Change = Callable[[torch.Tensor], torch.Tensor]
# (weights, scale that divides them) -> whole steps, before they are clamped
Steps = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]


def same(tensor: torch.Tensor) -> torch.Tensor:
    return tensor


# ---- Q8_0 ----


def by_127(peak: torch.Tensor) -> torch.Tensor:
    return peak / 127


def to_even(weights: torch.Tensor, scale: torch.Tensor) -> torch.Tensor:
    return (weights / scale).round()


def away_from_zero(weights: torch.Tensor, scale: torch.Tensor) -> torch.Tensor:
    return _away(weights / scale)


def _away(quotient: torch.Tensor) -> torch.Tensor:
    whole = quotient.trunc()
    return whole + quotient.sign() * ((quotient - whole).abs() >= 0.5)


def half_added(weights: torch.Tensor, scale: torch.Tensor) -> torch.Tensor:
    """As C programs round: half added, itself rounded, and the rest cut off."""
    quotient = weights / scale
    return (quotient + torch.copysign(torch.tensor(0.5), quotient)).trunc()


def half_added_then_floor(weights: torch.Tensor, scale: torch.Tensor) -> torch.Tensor:
    return (weights / scale + 0.5).floor()


def upwards(weights: torch.Tensor, scale: torch.Tensor) -> torch.Tensor:
    whole = (weights / scale).floor()
    return whole + (weights / scale - whole >= 0.5)


def downwards(weights: torch.Tensor, scale: torch.Tensor) -> torch.Tensor:
    return (weights / scale).floor()


def towards_zero(weights: torch.Tensor, scale: torch.Tensor) -> torch.Tensor:
    return (weights / scale).trunc()


def by_reciprocal(weights: torch.Tensor, scale: torch.Tensor) -> torch.Tensor:
    return (weights * (1 / scale)).round()


def by_reciprocal_away(weights: torch.Tensor, scale: torch.Tensor) -> torch.Tensor:
    return _away(weights * (1 / scale))


def requantized(
    scale_of: Change = by_127,
    steps: Steps = to_even,
    *,
    divide_by: Change = same,
    store: Change = same,
    least: int = -127,
    peak_of: Callable[[Rows, torch.Tensor], torch.Tensor] | None = None,
) -> Derivation:
    """Q8_0 with another step in it. scale_of: largest magnitude to scale; divide_by, store: what then becomes of the
    scale, where it divides and where it is stored; least: smallest int8; peak_of: (rows, largest magnitude of each
    group (n, groups)) -> what takes its place."""

    def derive(rows: Rows) -> Parts | None:
        if rows.storage != "q8_0":
            return None
        grouped = rows.own.view(len(rows.own), -1, rows.group_size)
        peak = grouped.abs().amax(dim=2)
        scale = scale_of(peak if peak_of is None else peak_of(rows, peak))
        divisor = divide_by(scale).unsqueeze(2)
        q = steps(grouped, torch.where(divisor == 0, 1, divisor)).clamp_(least, 127)
        return {"int8": q.to(torch.int8).view(rows.own.shape), "scale": store(scale).float()}

    return derive


def in_double(rows: Rows) -> Parts | None:
    """Q8_0 in float64, the scale rounded when stored."""
    if rows.storage != "q8_0":
        return None
    grouped = rows.own.double().view(len(rows.own), -1, rows.group_size)
    scale = grouped.abs().amax(dim=2) / 127
    q = (grouped / torch.where(scale == 0, 1, scale).unsqueeze(2)).round()
    return {"int8": q.to(torch.int8).view(rows.own.shape), "scale": scale.float()}


def of_row(_: Rows, peak: torch.Tensor) -> torch.Tensor:
    return peak.amax(dim=1, keepdim=True).expand_as(peak)


def of_tensor(rows: Rows, peak: torch.Tensor) -> torch.Tensor:
    return rows.weights.abs().amax().expand_as(peak)


def scales_moved(by_groups: int = 0, by_rows: int = 0) -> Derivation:
    """int8 right; each scale stands so many groups, or rows of groups, further on."""

    def derive(rows: Rows) -> Parts | None:
        if rows.storage != "q8_0":
            return None
        per_row = rows.weights.shape[1] // rows.group_size
        moved = by_groups + by_rows * per_row
        around = 1 + abs(moved) // per_row
        index = torch.arange(rows.first - around, rows.last + around) % len(rows.weights)
        # the roll wraps around within the rows that are cut off below
        scale = quantized(rows.weights[index], rows.group_size)[1].roll(moved)
        return {"int8": rows.healthy()["int8"], "scale": scale.view(-1, per_row)[around:-around]}

    return derive


# ---- values on the way, and parts ----


def on_the_way(change: Change) -> Derivation:
    """The weights changed before they were stored."""
    return lambda rows: rows.stored(change(rows.own).float())


def through_q8(group_size: int) -> Derivation:
    """Weights that were Q8_0 once."""

    def derive(rows: Rows) -> Parts | None:
        fits = rows.weights.shape[1] > 1 and rows.weights.shape[1] % group_size == 0
        return rows.stored(numbers(rows.own, "q8_0", group_size)) if fits else None

    return derive


def cut_to_bf16(weights: torch.Tensor) -> torch.Tensor:
    """The upper half of each float32, without rounding."""
    return (weights.contiguous().view(torch.int32) & -0x10000).view(torch.float32)


def cut_to_fp16(weights: torch.Tensor) -> torch.Tensor:
    near = weights.half()
    beyond = near.float().abs() > weights.abs()
    return (near.view(torch.int16) - beyond.to(torch.int16)).view(torch.float16).float()


def other_half(rows: Rows) -> Parts | None:
    """The bits of the other half precision."""
    if rows.storage == "fp16":
        return {"fp16": rows.own.bfloat16().view(torch.int16).view(torch.float16)}
    if rows.storage == "bf16":
        return {"bf16": rows.own.half().view(torch.int16).view(torch.bfloat16)}
    return None


def changed(*names: str, change: Change) -> Derivation:
    """Some of the right parts, changed."""

    def derive(rows: Rows) -> Parts | None:
        parts = rows.healthy()
        if parts.keys().isdisjoint(names):
            return None
        return {name: change(part) if name in names else part for name, part in parts.items()}

    return derive


def byte_swapped(part: torch.Tensor) -> torch.Tensor:
    raw = part.contiguous().view(torch.uint8).view(*part.shape, part.element_size())
    return raw.flip(-1).contiguous().view(part.dtype).view(part.shape)
