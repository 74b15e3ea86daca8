"""Buffers of old checkpoints: RoPE's frequencies and tables, and causal masks. They follow from the config, so they
are left out where they hold what they must. Anything else there would be another model.

A frequency may be off by 2^-19 of itself (32 roundings of float32: of the exponent, the power and the quotient) and
half a unit of the type that it is stored in; a cosine by as much of its angle, and that half unit of 1.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from math import prod
from typing import Any

import ml_dtypes
import numpy as np
from numpy.typing import NDArray

from exporter.config import ModelConfig
from exporter.errors import CheckpointError
from exporter.formats.rope_tables import TABLES, angles, frequencies_of, plain_frequencies

# Rows of a buffer seen as a matrix of its last axis.
ReadRows = Callable[[range], NDArray[Any]]

_BUFFER = re.compile(
    r"(?:.*\.)?(?:rotary_emb\.(?P<inv>inv_freq)|(?P<freqs>rope\.freqs)|(?P<table>freqs_(?:cos|sin|cis))"
    r"|(?P<mask>(?:attention|attn)\.mask))"
)
_RELATIVE = 2.0**-19
_BLOCK = 1 << 20


def is_buffer(name: str) -> bool:
    """Whether a tensor's name is that of a buffer, under any prefix."""
    return _BUFFER.fullmatch(name) is not None


def check_buffer(where: str, name: str, shape: tuple[int, ...], rows: ReadRows, config: ModelConfig) -> None:
    """Raise CheckpointError unless a buffer holds what follows from the config. rows: of its last axis."""
    match = _BUFFER.fullmatch(name)
    kind = match.lastgroup if match else None
    if kind in ("inv", "freqs"):
        _check_frequencies(where, shape, rows, config)
    elif kind == "table":
        check_table(where, name.rpartition(".")[2], shape, rows, config)
    else:
        _check_mask(where, shape, rows)


def _check_frequencies(where: str, shape: tuple[int, ...], rows: ReadRows, config: ModelConfig) -> None:
    """Scaled or not: linear scaling was once applied to positions."""
    pairs = config.rotated // 2
    if shape != (pairs,):
        raise CheckpointError(f"{where}: expected {pairs} frequencies, as config has pairs, found shape {shape}")
    found = rows(range(1)).reshape(-1)
    values = found.astype(np.float64)
    exact = plain_frequencies(config.rotated, config.rope_theta)
    for expected in (exact, frequencies_of(config)):
        wrong = ~(np.abs(values - expected) <= expected * (_RELATIVE + _unit(found)) + _least(found))
        if not wrong.any():
            return
    at = int(wrong.argmax())
    raise CheckpointError(
        f"{where}: expected RoPE's frequencies for theta = {config.rope_theta:g}, {expected[at]:.9g} at [{at}], "
        f"found {values[at]:.9g}"
    )


def check_table(where: str, name: str, shape: tuple[int, ...], rows: ReadRows, config: ModelConfig) -> None:
    """Raise CheckpointError unless each row has the cosines, sines or both (cis) of its position's angles."""
    pairs = config.rotated // 2
    if len(shape) != 2 or shape[1] != pairs:
        raise CheckpointError(f"{where}: expected rows of {pairs}, as config has pairs, found shape {shape}")
    tables = TABLES.values() if name == "freqs_cis" else [TABLES[name]]
    frequency = frequencies_of(config)
    step = max(1, _BLOCK // pairs)
    for start in range(0, shape[0], step):
        positions = range(start, min(start + step, shape[0]))
        found, angle = rows(positions), angles(positions, frequency)
        parts = (found.real, found.imag) if name == "freqs_cis" else (found,)
        for table, part in zip(tables, parts, strict=True):
            exact, values = table(angle), part.astype(np.float64)
            wrong = ~(np.abs(values - exact) <= angle * _RELATIVE + 2 * _unit(part))
            if wrong.any():
                row, pair = (int(i) for i in np.argwhere(wrong)[0])
                raise CheckpointError(
                    f"{where}: expected RoPE's table for theta = {config.rope_theta:g}, {exact[row, pair]:.9g} at "
                    f"[{start + row}, {pair}], found {values[row, pair]:.9g}"
                )


def _check_mask(where: str, shape: tuple[int, ...], rows: ReadRows) -> None:
    size = shape[-1] if shape else 0
    if len(shape) < 2 or shape[-2] != size or prod(shape[:-2]) != 1:
        raise CheckpointError(f"{where}: expected a square mask, found shape {shape}")
    step = max(1, _BLOCK // max(1, size))
    for start in range(0, size, step):
        positions = range(start, min(start + step, size))
        values = rows(positions).astype(np.float64)
        future = np.arange(size) > np.asarray(positions)[:, None]
        wrong = values != np.where(future, -np.inf, 0.0)
        if wrong.any():
            row, column = (int(i) for i in np.argwhere(wrong)[0])
            raise CheckpointError(
                f"{where}: expected a causal mask, {'-inf' if future[row, column] else '0'} at "
                f"[{start + row}, {column}], found {values[row, column]:g}"
            )


def note_of(names: list[str]) -> list[str]:
    """What is said of buffers that were left out."""
    if not names:
        return []
    kinds = sorted({".".join(name.split(".")[-2:]) for name in names})
    return [f"left out, since they hold what follows from the config: {len(names)} buffers ({', '.join(kinds)})"]


def _unit(found: NDArray[Any]) -> float:
    """Half a unit in the last place of 1, at most what rounding changes."""
    dtype = found.real.dtype
    return float(ml_dtypes.finfo(dtype).eps) / 2  # type: ignore[no-untyped-call]


def _least(found: NDArray[Any]) -> float:
    """Half of the smallest number above 0."""
    return float(ml_dtypes.finfo(found.dtype).smallest_subnormal) / 2  # type: ignore[no-untyped-call]
