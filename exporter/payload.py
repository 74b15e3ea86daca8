"""Write the payload of a .bin file: every tensor loaded, encoded, and written at its offsets."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterable, Mapping
from math import prod
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

from exporter.checkpoint import Checkpoint, Weights
from exporter.encode import encode
from exporter.errors import FormatError
from exporter.formats.layout import Part
from exporter.formats.rope_tables import TABLES, rope_table
from exporter.formats.v3 import Stored
from exporter.parallel import in_parallel
from exporter.summary import Progress, TensorSummary

# Elements of v0's RoPE tables computed at a time: the tables grow with max_seq_len, and no tensor of the source does.
TABLE_BLOCK = 1 << 18

# Elements checked for NaN and infinity at a time.
_FINITE_BLOCK = 1 << 22

_PART_DTYPES = {"fp32": "<f4", "fp16": "<f2", "bf16": "<u2", "int8": "i1", "scale": "<f4"}

# Receives a tensor's name and its parts as they were written.
Written = Callable[[str, list[NDArray[np.generic]]], None]
# (name, weights) -> the weights with their rows in the file's order
Arrange = Callable[[str, Weights], Weights]


class PayloadWriter:
    """Writes a checkpoint's tensors into a file, several at a time on all cores.

    at_once: the most elements of tensors that are held at the same time; the default 0 holds one tensor at a time.
    """

    def __init__(self, checkpoint: Checkpoint, progress: Progress | None = None, at_once: int = 0) -> None:
        self._checkpoint, self._progress, self._at_once = checkpoint, progress, at_once

    def write(
        self,
        file: BinaryIO,
        parts: Iterable[Part],
        stored: Mapping[str, Stored],
        size: int,
        written: Written = lambda _name, _arrays: None,
        arrange: Arrange = lambda _name, weights: weights,
    ) -> tuple[TensorSummary, ...]:
        """Write every part at its offset, and return a summary of each tensor in the order of parts.

        stored: how each tensor is stored. size: of the whole file, for progress. written is called on any thread and
        must not keep the arrays. arrange: by default rows stay in llama2.c's order. Raises WeightError for a weight
        that is not finite or that its storage cannot hold, FormatError where an encoded tensor does not fit its part,
        CheckpointError, and OSError.
        """
        of_tensor: dict[str, list[Part]] = {}
        for part in parts:
            of_tensor.setdefault(part.tensor, []).append(part)
        done = size - sum(part.nbytes for own in of_tensor.values() for part in own)
        # bytes of encoded tensors that are not complete yet, and the most that was reported
        begun: dict[str, int] = {}
        most = 0

        def write_tensor(name: str) -> TensorSummary:
            """Write one tensor, in a function so that none of its arrays is alive when the next is loaded."""
            own, how = of_tensor[name], stored[name]
            nbytes = sum(part.nbytes for part in own)
            if name in TABLES:
                self._write_table(file, own[0])
                return TensorSummary(name, own[0].shape, how.storage, nbytes, 0.0, 0.0)
            weights = arrange(name, self.load(name))
            begun[name] = 0

            def advance(elements: int) -> None:
                begun[name] += elements * nbytes // weights.size

            encoded = encode(weights, how.storage, how.group_size, f"{self._checkpoint.where}: {name}", advance)
            written(name, [_write_part(file, part, encoded.parts[part.part]) for part in own])
            return TensorSummary(name, own[0].shape, how.storage, nbytes, encoded.max_error, encoded.bound)

        def finished(summary: TensorSummary) -> None:
            nonlocal done
            done += summary.bytes
            begun.pop(summary.name, None)
            report()

        def report() -> None:
            nonlocal most
            if self._progress:
                # a tensor that is encoded still has to be written
                most = max(most, done + sum(begun.copy().values()) // 2)
                self._progress(most, size)

        def elements_held(name: str) -> int:
            return min(prod(of_tensor[name][0].shape), TABLE_BLOCK if name in TABLES else sys.maxsize)

        return tuple(in_parallel(write_tensor, list(of_tensor), elements_held, self._at_once, finished, report))

    def load(self, name: str) -> Weights:
        """Load one tensor as float32. Raises WeightError naming the first NaN or infinity, and CheckpointError."""
        weights = self._checkpoint.load(name)
        flat = weights.reshape(-1)
        for start in range(0, flat.size, _FINITE_BLOCK):
            if not np.isfinite(flat[start : start + _FINITE_BLOCK]).all():
                raise self._checkpoint.not_finite(name, weights)
        return weights

    def _write_table(self, file: BinaryIO, part: Part) -> None:
        """Write a RoPE table of v0 block by block."""
        config = self._checkpoint.config
        length, width = part.shape
        step = max(1, TABLE_BLOCK // width)
        for first in range(0, length, step):
            positions = range(first, min(first + step, length))
            rows = rope_table(part.tensor, positions, config.head_dim, config.rope_theta)
            write_all(file, rows.astype("<f4", copy=False).data.cast("B"), part.offset + first * width * 4)


def write_all(file: BinaryIO, content: memoryview, offset: int) -> None:
    """Write content at an offset, past the file's buffer, so that threads may write side by side. Raises OSError."""
    while content:
        count = os.pwrite(file.fileno(), content, offset)
        content, offset = content[count:], offset + count


def _write_part(file: BinaryIO, part: Part, array: NDArray[np.generic]) -> NDArray[np.generic]:
    """Write an array at its part's offset, and return it as it was written."""
    array = np.ascontiguousarray(array, np.dtype(_PART_DTYPES[part.part]))
    if array.shape != part.shape or array.nbytes != part.nbytes:
        raise FormatError(f"{part.tensor}: expected {part.shape}, {part.nbytes} bytes, found {array.shape}")
    write_all(file, array.data.cast("B"), part.offset)
    return array
