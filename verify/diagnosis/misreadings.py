"""Derive tensors whose numbers were misread, or passed through a narrower type, before they were stored."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial

import numpy as np
import torch

from verify.diagnosis.conversions import Change, byte_swapped, on_the_way
from verify.diagnosis.derivation import Derivation, Parts, Rows

# ---- bits of one type read as another ----


def _by_numpy(narrow: Change) -> Change:
    """Widen fp16 as numpy does, which keeps the bits of a NaN that torch changes."""
    return lambda weights: torch.from_numpy(narrow(weights).numpy().astype(np.float32))


def _as(right: torch.dtype, wrong: torch.dtype) -> Change:
    return lambda weights: weights.to(right).contiguous().view(torch.int16).view(wrong).float()


def _swapped(dtype: torch.dtype) -> Change:
    return lambda weights: byte_swapped(weights.to(dtype)).float()


def _swapped_fp16(weights: torch.Tensor) -> torch.Tensor:
    return byte_swapped(weights.half())


def _bf16_as_fp16(weights: torch.Tensor) -> torch.Tensor:
    return weights.bfloat16().contiguous().view(torch.float16)


def _halves_exchanged(weights: torch.Tensor) -> torch.Tensor:
    """Exchange the two 16-bit halves of each float32."""
    halves = weights.contiguous().view(torch.int16).unflatten(-1, (-1, 2)).flip(-1)
    exchanged: torch.Tensor = halves.flatten(-2).contiguous().view(torch.float32)
    return exchanged


def _as_halves(dtype: torch.dtype, widen: Change = torch.Tensor.float) -> Derivation:
    """Derive numbers of 16 bits from the bytes of float32: two for each, so that the second half is never read."""

    def derive(rows: Rows) -> Parts | None:
        width = rows.weights.shape[1]
        first, last = rows.first * width // 2, -(-rows.last * width // 2)
        halves = rows.weights.view(-1)[first:last].contiguous().view(torch.int16)
        begin = rows.first * width - 2 * first
        flat = halves[begin : begin + (rows.last - rows.first) * width]
        numbers = widen(flat.contiguous().view(dtype))
        return rows.stored(numbers.view(-1, width))

    return derive


FP16, BF16, FP32 = "fp16", "bf16", "float32"
# (right type, wrong type, derivations: two where numpy and PyTorch keep other bits of a NaN)
MISREADINGS: tuple[tuple[str, str, tuple[Derivation, ...]], ...] = (
    (FP16, BF16, (on_the_way(_as(torch.float16, torch.bfloat16)),)),
    (BF16, FP16, (on_the_way(_as(torch.bfloat16, torch.float16)), on_the_way(_by_numpy(_bf16_as_fp16)))),
    (FP32, "two bf16", (_as_halves(torch.bfloat16),)),
    (FP32, "two fp16", (_as_halves(torch.float16), _as_halves(torch.float16, _by_numpy(lambda numbers: numbers)))),
    (FP16, "big-endian fp16", (on_the_way(_swapped(torch.float16)), on_the_way(_by_numpy(_swapped_fp16)))),
    (BF16, "big-endian bf16", (on_the_way(_swapped(torch.bfloat16)),)),
    (FP32, "float32 with its two halves exchanged", (on_the_way(_halves_exchanged),)),
    (BF16, "integers of 16 bits", (on_the_way(lambda weights: weights.bfloat16().view(torch.int16).float()),)),
    (FP32, "integers of 32 bits", (on_the_way(lambda weights: weights.contiguous().view(torch.int32).float()),)),
)

# ---- few levels, with a scale for each part of a matrix ----

# From rows to the largest magnitude that each of their elements shares a scale with.
Peak = Callable[[Rows], torch.Tensor | None]


def _of_tensor(rows: Rows) -> torch.Tensor:
    return rows.weights.abs().amax()


def _of_row(rows: Rows) -> torch.Tensor:
    return rows.own.abs().amax(dim=1, keepdim=True)


def _of_column(rows: Rows) -> torch.Tensor:
    return rows.weights.abs().amax(dim=0, keepdim=True)


def _of_group(size: int, rows: Rows) -> torch.Tensor | None:
    if rows.own.shape[1] % size:
        return None
    peak: torch.Tensor = rows.own.unflatten(1, (-1, size)).abs().amax(dim=2)
    return peak.repeat_interleave(size, dim=1)


def _of_block(size: int, rows: Rows) -> torch.Tensor | None:
    """Find the peaks of blocks of so many rows and columns; those at the edges are smaller."""
    (height, width), first = rows.weights.shape, rows.first // size * size
    last = min(-(-rows.last // size) * size, height)
    whole = rows.weights[first:last].abs()
    padded = torch.nn.functional.pad(whole, (0, -width % size, 0, -len(whole) % size))
    peak: torch.Tensor = padded.unflatten(0, (-1, size)).unflatten(2, (-1, size)).amax(dim=(1, 3))
    wide = peak.repeat_interleave(size, dim=0).repeat_interleave(size, dim=1)
    return wide[rows.first - first : rows.last - first, :width]


PEAKS: dict[str, Peak] = {
    "the tensor": _of_tensor,
    "each row": _of_row,
    "each column": _of_column,
    **{f"each {size} values": partial(_of_group, size) for size in (32, 64, 128)},
    **{f"each block of {size} x {size}": partial(_of_block, size) for size in (128,)},
}

# (what was rounded, its scale) -> numbers
Applied = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]
DONE: dict[str, Applied] = {
    "not applied": lambda levels, _scale: levels,
    "divided by instead of multiplied": lambda levels, scale: levels / scale,
}


def _multiplied(levels: torch.Tensor, scale: torch.Tensor) -> torch.Tensor:
    return levels * scale


def _rounded(peak: Peak, largest: float, to_levels: Change, applied: Applied) -> Derivation:
    def derive(rows: Rows) -> Parts | None:
        if rows.weights.shape[1] == 1:
            return None
        size = peak(rows)
        if size is None:
            return None
        scale = size / largest
        scale = torch.where(scale == 0, 1, scale)
        return rows.stored(applied(to_levels(rows.own / scale), scale))

    return derive


def fp8(dtype: torch.dtype, peak: Peak, applied: Applied = _multiplied) -> Derivation:
    """Derive numbers that were fp8 with a scale, the largest magnitude over fp8's."""
    return _rounded(peak, torch.finfo(dtype).max, lambda numbers: numbers.to(dtype).float(), applied)


def whole_numbers(bits: int, peak: Peak, applied: Applied = _multiplied) -> Derivation:
    """Derive numbers that were rounded to symmetric integers with a scale."""
    return _rounded(peak, 2.0 ** (bits - 1) - 1, torch.round, applied)


_NF4 = (
    *(-1.0, -0.6961928009986877, -0.5250730514526367, -0.39491748809814453, -0.28444138169288635),
    *(-0.18477343022823334, -0.09105003625154495, 0.0, 0.07958029955625534, 0.16093020141124725),
    *(0.24611230194568634, 0.33791524171829224, 0.44070982933044434, 0.5626170039176941, 0.7229568362236023, 1.0),
)


def _nf4(numbers: torch.Tensor) -> torch.Tensor:
    """Round to the nearest of the values that bitsandbytes calls nf4."""
    table = torch.tensor(_NF4)
    return table[torch.bucketize(numbers, (table[1:] + table[:-1]) / 2)]


def levels() -> Iterator[tuple[str, str, Derivation, Derivation]]:
    """Yield (type, what one scale is for, the derivation with the scale, and without)."""
    unscaled = DONE["not applied"]
    for one, peak in PEAKS.items():
        for bits in (8, 4):
            yield f"{bits} bits", one, whole_numbers(bits, peak), whole_numbers(bits, peak, unscaled)
        yield "nf4", one, _rounded(peak, 1.0, _nf4, _multiplied), _rounded(peak, 1.0, _nf4, unscaled)
