"""Derive what a file must hold, only from the source.

The exporter quantizes with numpy. This module implements the page of the format a second time, with torch, on
purpose.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch

from verify.system.prefetch import ahead
from verify.system.pulse import DERIVED, pulse

UNIT = 2.0**-24  # half the distance from 1 to the next float32
SMALLEST_NORMAL = 2.0**-126
LARGEST_SCALE = 2.0**128 / 127 * (1 - 2.0**-23)  # rounds to the largest float32 s with 127 * s finite

# Elements of a block of rows, which fits into a core's cache.
_BLOCK = 1 << 19

HALVES = {"fp16": torch.float16, "bf16": torch.bfloat16}
# (half the distance from 1 to the next number, half the smallest subnormal)
_HALF_UNITS = {"fp16": (2.0**-11, 2.0**-25), "bf16": (2.0**-8, 2.0**-134)}


def quantized(weights: torch.Tensor, group_size: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Quantize a float32 matrix: (q int8 (out, in), scale float32 (out, in / group_size)).

    scale is the group's largest magnitude over 127, at least 2^-126 unless the group is all zeros, and never so large
    that 127 * scale is infinite. q is weights / scale rounded to the nearest integer, halves to even.
    """
    steps = torch.empty(weights.shape, dtype=torch.int8)
    scales = torch.empty(len(weights), weights.shape[1] // group_size)

    def quantize(rows: slice) -> None:
        steps[rows], scales[rows] = _quantized(weights[rows], group_size)

    _each_block(quantize, weights)
    return steps, scales


def _quantized(rows: torch.Tensor, group_size: int) -> tuple[torch.Tensor, torch.Tensor]:
    grouped = rows.view(len(rows), -1, group_size)
    peak = grouped.abs().amax(dim=2)
    scale = torch.where(peak == 0, peak, (peak / 127.0).clamp(SMALLEST_NORMAL, LARGEST_SCALE))
    divisor = torch.where(scale == 0, 1.0, scale)
    # integers, which have no negative zero
    return (grouped / divisor.unsqueeze(2)).round_().clamp_(-127, 127).to(torch.int8).view(rows.shape), scale


def parts(weights: torch.Tensor, storage: str, group_size: int) -> dict[str, torch.Tensor]:
    """Return what the file holds of a float32 tensor by part: "fp32", "fp16", "bf16", or "int8" and "scale"."""
    if storage == "q8_0":
        q, scale = quantized(weights, group_size)
        return {"int8": q, "scale": scale}
    return {storage: weights.to(HALVES.get(storage, torch.float32))}


def numbers(weights: torch.Tensor, storage: str, group_size: int) -> torch.Tensor:
    """Return the weights that an engine multiplies by: float32, q * scale rounded once."""
    if storage != "q8_0":
        return weights.to(HALVES.get(storage, torch.float32)).float()
    return dequantized(*quantized(weights, group_size))


def dequantized(q: torch.Tensor, scale: torch.Tensor) -> torch.Tensor:
    """Return q * scale, rounded once: float32 (out, in). q: int8 (out, in). scale: (out, in / group_size)."""
    made = torch.empty(q.shape)

    def dequantize(rows: slice) -> None:
        grouped = q[rows].view(*scale[rows].shape, -1)
        torch.mul(grouped, scale[rows].unsqueeze(2), out=made[rows].view_as(grouped))

    _each_block(dequantize, made)
    return made


def blocks(weights: torch.Tensor) -> Iterator[slice]:
    """Yield slices of rows, so that what a step makes of a slice is small compared with a large matrix."""
    step = max(1, _BLOCK * len(weights) // weights.numel())
    for first in range(0, len(weights), step):
        yield slice(first, first + step)


def _each_block(work: Callable[[slice], None], weights: torch.Tensor) -> None:
    """Run one thread for each block instead of threads within each of torch's many small steps.

    Those wait for each other, and wait long if another process uses one of their cores.
    """
    slices = list(blocks(weights))
    for _done in ahead(work, slices, min(len(slices), torch.get_num_threads())):
        pulse(DERIVED * weights.numel() / len(slices))


def rounding_bound(scale: torch.Tensor) -> torch.Tensor:
    """Return scale * (1/2 + 128u), float64: how far a Q8_0 weight may be from its source.

    This is half a step, and what rounding the scale and the quotient adds at |q| = 127.
    """
    return scale.double() * (0.5 + 128 * UNIT)


def half_bound(weights: torch.Tensor, storage: str) -> torch.Tensor:
    """Return how far a weight in half precision may be from its source, float64: half a unit in its last place."""
    relative, least = _HALF_UNITS[storage]
    return (weights.double().abs() * relative).clamp_(min=least)
