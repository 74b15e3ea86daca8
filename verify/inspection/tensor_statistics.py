"""The statistics of one tensor: its range, its moments, how its numbers are spread, and a copy as .npy."""

from __future__ import annotations

import dataclasses
import math
import os
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

import reader_c
from verify.errors import CannotJudgeError
from verify.inspection.numbers import blocks, parts_of, widened

BINS = 16


@dataclasses.dataclass(frozen=True)
class TensorStatistics:
    """Describes the numbers of a tensor as an engine computes with them.

    smallest to rms are over its finite numbers, and None without any. histogram: how many of them lie in each of BINS
    equal parts of [smallest, largest]. saturated: int8 values of -127 or 127; empty_groups: groups whose scale is 0;
    both are None without Q8_0.
    """

    name: str
    shape: tuple[int, ...]
    storage: str
    group_size: int
    bytes: int
    numbers: int
    not_finite: int
    zeros: int
    smallest: float | None
    largest: float | None
    mean: float | None
    standard_deviation: float | None
    rms: float | None
    histogram: tuple[int, ...]
    saturated: int | None
    empty_groups: int | None

    @property
    def bits(self) -> float:
        """Return the bits of storage for each number."""
        return 8 * self.bytes / self.numbers


def tensor_statistics(model: reader_c.Model, name: str) -> TensorStatistics:
    """Return the statistics of a tensor. It is read twice, some rows at a time."""
    how, parts = model.storage(name), parts_of(model, name)
    shape = how.shape
    count = zeros = odd = 0
    total = squares = 0.0
    low, high = math.inf, -math.inf
    for rows in blocks(shape):
        block = widened(parts, rows)
        finite = block[np.isfinite(block)].astype(np.float64)
        odd += block.size - finite.size
        count += finite.size
        zeros += int(np.count_nonzero(finite == 0))
        if finite.size:
            low, high = min(low, float(finite.min())), max(high, float(finite.max()))
            total, squares = total + float(finite.sum()), squares + float(np.square(finite).sum())
    mean = total / count if count else None
    spread, deviation = _second_pass(parts, shape, low, high, mean)
    return TensorStatistics(
        name=name,
        shape=shape,
        storage=how.storage,
        group_size=how.group_size,
        bytes=sum(span.nbytes for span in model.spans(name)),
        numbers=count + odd,
        not_finite=odd,
        zeros=zeros,
        smallest=low if count else None,
        largest=high if count else None,
        mean=mean,
        standard_deviation=math.sqrt(deviation / count) if count else None,
        rms=math.sqrt(squares / count) if count else None,
        histogram=spread,
        saturated=int(np.count_nonzero(np.abs(parts["int8"].astype(np.int16)) == 127)) if "int8" in parts else None,
        empty_groups=int(np.count_nonzero(parts["scale"] == 0)) if "scale" in parts else None,
    )


def _second_pass(
    parts: dict[str, NDArray[Any]],
    shape: tuple[int, ...],
    low: float,
    high: float,
    mean: float | None,
) -> tuple[tuple[int, ...], float]:
    """Return the histogram, and the sum of squares around the mean."""
    if mean is None:
        return (), 0.0
    spread, around = np.zeros(BINS, np.int64), 0.0
    for rows in blocks(shape):
        block = widened(parts, rows)
        finite = block[np.isfinite(block)].astype(np.float64)
        spread += np.histogram(finite, BINS, (low, high))[0]
        around += float(np.square(finite - mean).sum())
    return tuple(int(one) for one in spread), around


def write_npy(model: reader_c.Model, name: str, out: Path) -> None:
    """Write a tensor as float32 to an .npy file, which appears complete or not at all. Raises CannotJudgeError."""
    if os.path.lexists(out):
        raise CannotJudgeError(f"{out}: --npy: expected nothing there, found a file: give another name")
    shape, parts = model.storage(name).shape, parts_of(model, name)
    partial = out.with_name(f".{out.name}.partial")
    try:
        copy = np.lib.format.open_memmap(partial, mode="w+", dtype=np.float32, shape=shape)
        for rows in blocks(shape):
            copy[rows] = widened(parts, rows)
        copy.flush()
        del copy
        partial.replace(out)
    except OSError as error:
        raise CannotJudgeError(f"{out}: cannot be written: {(error.strerror or str(error)).lower()}") from error
    finally:
        partial.unlink(missing_ok=True)
