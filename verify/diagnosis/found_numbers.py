"""Read a file's tensor as numbers, beside the source's."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch

import reader_c
from verify.diagnosis.bit_comparison import BitComparison

# Elements of a block in float64.
_BLOCK = 1 << 20


def numbers_beside(
    compared: BitComparison, name: str, every: int = 1
) -> Iterator[tuple[slice, torch.Tensor, torch.Tensor]]:
    """Yield (rows, the file's numbers, the source's), float64 (rows, width), for blocks of every so many rows."""
    weights = compared.weights(name)
    step = max(1, _BLOCK // weights.shape[1]) * every
    # numpy warns about some NaNs that it only copies
    with np.errstate(invalid="ignore"):
        stored = compared.model.tensor(name)
        for first in range(0, len(weights), step):
            rows = slice(first, min(first + step, len(weights)), every)
            yield rows, _numbers(stored, rows), weights[rows].double()


def numbers_from(compared: BitComparison, name: str, first: int, count: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Return (the file's numbers, the source's), float64, of at most so many rows from one row on."""
    weights = compared.weights(name)
    rows = slice(first, min(first + count, len(weights)))
    with np.errstate(invalid="ignore"):
        return _numbers(compared.model.tensor(name), rows), weights[rows].double()


def _numbers(stored: np.ndarray | reader_c.QuantizedTensor, rows: slice) -> torch.Tensor:
    if isinstance(stored, reader_c.QuantizedTensor):
        q, scale = (torch.from_numpy(part[rows].astype(np.float64)) for part in (stored.q, stored.scale))
        return q * scale.repeat_interleave(stored.group_size, dim=1)
    return torch.from_numpy(stored.reshape(len(stored), -1)[rows].astype(np.float64))
