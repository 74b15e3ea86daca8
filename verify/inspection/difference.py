"""How two .bin files of any formats differ: header fields, and the numbers of every tensor."""

from __future__ import annotations

import dataclasses
import hashlib
import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

import reader_c
from verify.errors import CannotJudgeError
from verify.inspection.numbers import Rows, blocks, parts_of, widened
from verify.report.formatting import config_in_words
from verify.sources.row_order import halved, heads_in, is_halved, paired

# Of storage, not of the model: files that differ in them alone compute the same.
_OF_STORAGE = ("group_size",)
# Derived from the header, and only v0 stores them.
_TABLES = ("freqs_cos", "freqs_sin")


@dataclass(frozen=True)
class FieldDifference:
    """Names a header field with its two values."""

    field: str
    a: str
    b: str


@dataclass(frozen=True)
class TensorDifference:
    """Compares the numbers of a tensor as engines compute with them.

    a, b: its shape and storage in each file; None where it is missing. numbers: how many there are; differing: how
    many of them have other bits as float32. largest, rms: of their differences; relative: rms divided by the RMS of
    a's numbers. These are None where the shapes differ; infinite where a number is not finite in one file alone.
    """

    name: str
    a: str | None
    b: str | None
    numbers: int
    differing: int
    largest: float | None
    rms: float | None
    relative: float | None


@dataclass(frozen=True)
class Difference:
    """Holds the comparison of two files. alike: whether both state the same model with the same numbers.

    same_bytes: whether the files are the same byte for byte. tensors: those that differ, in the order of a.
    """

    a: str
    b: str
    formats: tuple[str, str]
    same_bytes: bool
    fields: tuple[FieldDifference, ...]
    tensors: tuple[TensorDifference, ...]
    compared: int

    @property
    def alike(self) -> bool:
        """Return whether both files state the same model, number by number, whatever their formats are."""
        return not self.tensors and all(one.field in ("format", *_OF_STORAGE) for one in self.fields)


def compare(a: Path, b: Path) -> Difference:
    """Compare two files, tensor by tensor. Raises reader_c.ReaderError or CannotJudgeError."""
    for path in (a, b):
        if path.is_dir():
            raise CannotJudgeError(
                f"{path}: expected a .bin file, found a directory: export it as v3, which loses nothing"
            )
    # mapped: each tensor is read once, and no file need fit in memory
    with reader_c.open(a, mapped=True) as first, reader_c.open(b, mapped=True) as second:
        names = dict.fromkeys((*first.names, *second.names))
        if first.format != second.format:
            names = dict.fromkeys(name for name in names if name not in _TABLES)
        found = (_tensor(first, second, name) for name in names)
        return Difference(
            a=str(a),
            b=str(b),
            formats=(first.format, second.format),
            same_bytes=first.file_size == second.file_size and _digest(first) == _digest(second),
            fields=tuple(_fields(first, second)),
            tensors=tuple(one for one in found if one is not None),
            compared=len(names),
        )


def _digest(model: reader_c.Model) -> bytes:
    return hashlib.sha256(model.content).digest()


def _fields(first: reader_c.Model, second: reader_c.Model) -> Iterator[FieldDifference]:
    if first.format != second.format:
        yield FieldDifference("format", first.format, second.format)
    a, b = (_flat(dataclasses.asdict(model.config)) for model in (first, second))
    for field, value in a.items():
        if value != b[field]:
            yield FieldDifference(field, str(value), str(b[field]))


def _flat(config: dict[str, Any]) -> dict[str, Any]:
    scaling = {f"rope_scaling.{key}": value for key, value in config.pop("rope_scaling").items()}
    return {**config_in_words(config), **scaling}


def _tensor(first: reader_c.Model, second: reader_c.Model, name: str) -> TensorDifference | None:
    """Compare a tensor; None if its numbers are the same bits as float32."""
    a, b = (_described(model, name) for model in (first, second))
    if a is None or b is None:
        return TensorDifference(name, a, b, 0, 0, None, None, None)
    shape = first.storage(name).shape
    if shape != second.storage(name).shape:
        return TensorDifference(name, a, b, 0, 0, None, None, None)
    order = _rows_of_second(first, second, name)
    return _numbers(name, (a, b), parts_of(first, name), parts_of(second, name), shape, order)


def _rows_of_second(first: reader_c.Model, second: reader_c.Model, name: str) -> Rows:
    """Return which row of the second file is each row of the first: formats may order RoPE's pairs differently."""
    config = first.config
    heads = heads_in(name, config.n_heads, config.n_kv_heads) if "." in name else 0
    if not heads or is_halved(first.format) == is_halved(second.format):
        return slice(None)
    order = paired if is_halved(second.format) else halved
    rows: NDArray[np.int64] = order(heads, config.head_dim).numpy()
    return rows


def _described(model: reader_c.Model, name: str) -> str | None:
    if name not in model.names:
        return None
    how = model.storage(name)
    group = f" in groups of {how.group_size}" if how.group_size else ""
    return f"{' x '.join(map(str, how.shape))} {how.storage}{group}"


def _numbers(
    name: str,
    stored: tuple[str, str],
    a: dict[str, NDArray[Any]],
    b: dict[str, NDArray[Any]],
    shape: tuple[int, ...],
    order: Rows,
) -> TensorDifference | None:
    differing, largest, squares, signal = 0, 0.0, 0.0, 0.0
    for rows in blocks(shape):
        x, y = widened(a, rows), widened(b, rows if isinstance(order, slice) else order[rows])
        other = x.view(np.uint32) != y.view(np.uint32)
        differing += int(np.count_nonzero(other))
        signal += float(np.square(x, dtype=np.float64).sum())
        if other.any():
            error = np.abs(x[other].astype(np.float64) - y[other])
            error[np.isnan(error)] = math.inf
            largest, squares = max(largest, float(error.max())), squares + float(np.square(error).sum())
    if not differing:
        return None
    count = math.prod(shape)
    rms = math.sqrt(squares / count)
    relative = math.sqrt(squares / signal) if signal > 0 else None
    return TensorDifference(name, *stored, count, differing, largest, rms, relative)
