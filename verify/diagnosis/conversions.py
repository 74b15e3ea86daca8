"""Derive tensors with mistakes in the conversion to storage: other recipes for Q8_0, extra roundings, parts stored in
another way."""

from __future__ import annotations

from collections.abc import Callable

import torch

from verify.diagnosis.derivation import Derivation, Parts, Rows
from verify.oracle.expected import numbers, quantized

Change = Callable[[torch.Tensor], torch.Tensor]
# (weights, scale that divides them) -> int8 as whole numbers, before they are clamped
Steps = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]


def same(tensor: torch.Tensor) -> torch.Tensor:
    """Change nothing."""
    return tensor


# ---- Q8_0 ----


def by_127(peak: torch.Tensor) -> torch.Tensor:
    """Compute the right scale from a group's largest magnitude."""
    return peak / 127


def to_even(weights: torch.Tensor, scale: torch.Tensor) -> torch.Tensor:
    """Round to nearest, halves to even: the right way."""
    return (weights / scale).round()


def away_from_zero(weights: torch.Tensor, scale: torch.Tensor) -> torch.Tensor:
    """Round to nearest, halves away from zero."""
    return _away(weights / scale)


def _away(quotient: torch.Tensor) -> torch.Tensor:
    whole = quotient.trunc()
    return whole + quotient.sign() * ((quotient - whole).abs() >= 0.5)


def half_added(weights: torch.Tensor, scale: torch.Tensor) -> torch.Tensor:
    """Round as many C programs do: add a half, which rounds the sum, then truncate."""
    quotient = weights / scale
    return (quotient + torch.copysign(torch.tensor(0.5), quotient)).trunc()


def half_added_then_floor(weights: torch.Tensor, scale: torch.Tensor) -> torch.Tensor:
    """Round halves up as floor(x + 0.5) does, which rounds the sum."""
    return (weights / scale + 0.5).floor()


def upwards(weights: torch.Tensor, scale: torch.Tensor) -> torch.Tensor:
    """Round to nearest, halves up."""
    whole = (weights / scale).floor()
    return whole + (weights / scale - whole >= 0.5)


def downwards(weights: torch.Tensor, scale: torch.Tensor) -> torch.Tensor:
    """Round down."""
    return (weights / scale).floor()


def towards_zero(weights: torch.Tensor, scale: torch.Tensor) -> torch.Tensor:
    """Truncate."""
    return (weights / scale).trunc()


def half_added_then_truncated(weights: torch.Tensor, scale: torch.Tensor) -> torch.Tensor:
    """Round as (int8_t)(x + 0.5f) does in C: negative numbers towards zero from the sum."""
    return (weights / scale + 0.5).trunc()


def nearest_above_zero(weights: torch.Tensor, scale: torch.Tensor) -> torch.Tensor:
    """Round positive numbers to nearest, but truncate negative ones."""
    quotient = weights / scale
    return torch.where(quotient < 0, quotient.trunc(), quotient.round())


def by_reciprocal(weights: torch.Tensor, scale: torch.Tensor) -> torch.Tensor:
    """Multiply by the scale's reciprocal; halves to even."""
    return (weights * (1 / scale)).round()


def by_reciprocal_away(weights: torch.Tensor, scale: torch.Tensor) -> torch.Tensor:
    """Multiply by the scale's reciprocal; halves away from zero."""
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
    """Derive Q8_0 with one step changed.

    scale_of: from a group's largest magnitude to its scale. divide_by, store: change the scale before it divides, and
    before it is stored. least: the smallest int8. peak_of: (rows, largest magnitude of each group (n, groups)) -> the
    magnitudes that replace it.
    """

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
    """Derive Q8_0 in float64, with scales rounded when they are stored."""
    if rows.storage != "q8_0":
        return None
    grouped = rows.own.double().view(len(rows.own), -1, rows.group_size)
    scale = grouped.abs().amax(dim=2) / 127
    q = (grouped / torch.where(scale == 0, 1, scale).unsqueeze(2)).round()
    return {"int8": q.to(torch.int8).view(rows.own.shape), "scale": scale.float()}


def of_row(_: Rows, peak: torch.Tensor) -> torch.Tensor:
    """Return the largest magnitude of the row for each of its groups."""
    return peak.amax(dim=1, keepdim=True).expand_as(peak)


def of_tensor(rows: Rows, peak: torch.Tensor) -> torch.Tensor:
    """Return the largest magnitude of the tensor for every group."""
    return rows.weights.abs().amax().expand_as(peak)


def scales_moved(by_groups: int = 0, by_rows: int = 0) -> Derivation:
    """Derive the right int8 with each scale moved by so many groups, or rows of groups."""

    def derive(rows: Rows) -> Parts | None:
        if rows.storage != "q8_0":
            return None
        per_row = rows.weights.shape[1] // rows.group_size
        moved = by_groups + by_rows * per_row
        around = 1 + abs(moved) // per_row
        index = torch.arange(rows.first - around, rows.last + around) % len(rows.weights)
        # the roll wraps around only within the rows that are dropped below
        scale = quantized(rows.weights[index], rows.group_size)[1].roll(moved)
        return {"int8": rows.healthy()["int8"], "scale": scale.view(-1, per_row)[around:-around]}

    return derive


# ---- changes before storage, and of parts ----


def on_the_way(change: Change) -> Derivation:
    """Derive the weights changed before they were stored."""
    return lambda rows: rows.stored(change(rows.own).float())


def flushed(smallest_normal: float) -> Derivation:
    """Derive zeros in place of every value below the smallest normal number, before or after it is stored."""

    def derive(rows: Rows) -> Parts | None:
        if rows.storage == "q8_0":
            return None
        own = rows.own
        return rows.stored(torch.where(own.abs() < smallest_normal, 0.0, own))

    return derive


def through_q8(group_size: int) -> Derivation:
    """Derive weights that were once quantized to Q8_0."""

    def derive(rows: Rows) -> Parts | None:
        fits = rows.weights.shape[1] > 1 and rows.weights.shape[1] % group_size == 0
        return rows.stored(numbers(rows.own, "q8_0", group_size)) if fits else None

    return derive


def cut_to_bf16(weights: torch.Tensor) -> torch.Tensor:
    """Truncate to bf16: keep the upper half of each float32."""
    return (weights.contiguous().view(torch.int32) & -0x10000).view(torch.float32)


def cut_to_fp16(weights: torch.Tensor) -> torch.Tensor:
    """Truncate to fp16: step back where rounding went beyond the value."""
    near = weights.half()
    beyond = near.float().abs() > weights.abs()
    return (near.view(torch.int16) - beyond.to(torch.int16)).view(torch.float16).float()


def other_half(rows: Rows) -> Parts | None:
    """Derive the bits of the other half precision."""
    if rows.storage == "fp16":
        return {"fp16": rows.own.bfloat16().view(torch.int16).view(torch.float16)}
    if rows.storage == "bf16":
        return {"bf16": rows.own.half().view(torch.int16).view(torch.bfloat16)}
    return None


def changed(*names: str, change: Change) -> Derivation:
    """Derive the right parts with some of them changed."""

    def derive(rows: Rows) -> Parts | None:
        parts = rows.healthy()
        if parts.keys().isdisjoint(names):
            return None
        return {name: change(part) if name in names else part for name, part in parts.items()}

    return derive


def byte_swapped(part: torch.Tensor) -> torch.Tensor:
    """Reverse the bytes of each value."""
    raw = part.contiguous().view(torch.uint8).view(*part.shape, part.element_size())
    return raw.flip(-1).contiguous().view(part.dtype).view(part.shape)
