"""Find the mistake in a v0 file's own tables of RoPE's cosines and sines.

A table is explained if it is within the error of float32 around the exact table of the mistake, because the format
does not say how tables are computed.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import torch

import reader_c
from verify.diagnosis import mistakes as m
from verify.diagnosis.mistakes import Mistake
from verify.diagnosis.result import Diagnosis, diagnosis_of_tensors
from verify.operations import bounds
from verify.operations.rope_tables import Table, rope_tables
from verify.sources import Hyperparameters, RopeScaling

Pair = tuple[torch.Tensor, ...]
TABLES = ("freqs_cos", "freqs_sin")
# Significant digits of a theta that is read off a table.
_DIGITS = (2, 3, 4, 5, 6)
_FEW = 8  # wrong elements that are still counted one by one


def diagnose_tables(model: reader_c.Model, hyper: Hyperparameters) -> Diagnosis | None:
    """Say what the tables of a v0 file hold; None if they are right, or if the file has none."""
    if not set(TABLES) <= set(model.names):
        return None
    found = tuple(torch.from_numpy(np.array(model.tensor(name), np.float64)) for name in TABLES)
    wrong = _beyond(found, rope_tables(hyper, len(found[0])))
    if not any(part.any() for part in wrong):
        return None
    for mistake, what, tables, rows in _candidates(hyper, found):
        if not any(part[rows].any() for part in _beyond(found, tables)):
            return diagnosis_of_tensors(mistake.name, what, TABLES, TABLES, len(TABLES))
    return _few(wrong) or diagnosis_of_tensors(m.TABLES_UNKNOWN.name, m.TABLES_UNKNOWN.of_file(), TABLES, (), 2)


def _beyond(found: Pair, tables: tuple[Table, Table]) -> Pair:
    """Return where each table is further from a right one than float32 can be."""
    return tuple(
        bounds.utilisation((mine - table.exact).abs(), table.bound) > 1
        for mine, table in zip(found, tables, strict=True)
    )


def _few(wrong: Pair) -> Diagnosis | None:
    """Name elements that alone are wrong."""
    places = [(name, place) for name, part in zip(TABLES, wrong, strict=True) for place in part.nonzero().tolist()]
    if len(places) > _FEW:
        return None
    name, place = places[0]
    which = f"{place}" if len(places) == 1 else f"{len(places)} elements, the first of them {name} {place}"
    about = list(dict.fromkeys(name for name, _ in places))
    return diagnosis_of_tensors(m.FEW_ELEMENTS.name, m.FEW_ELEMENTS.of_file(which=which), about, about, len(about))


def _candidates(hyper: Hyperparameters, found: Pair) -> Iterator[tuple[Mistake, str, tuple[Table, Table], slice]]:
    """Yield (mistake, sentence, the tables that it makes, the rows for which it makes any)."""
    length, every = len(found[0]), slice(None)
    for theta in (*m.ROPE_THETA.numbers, *_fitted_thetas(hyper, *found)):
        what = m.ROPE_THETA.of_file(found=theta, expected=hyper.rope_theta)
        other = replace(hyper, rope_theta=theta, rope_scaling=RopeScaling())
        yield m.ROPE_THETA, what, rope_tables(other, length), every
    right = rope_tables(hyper, length)
    yield m.TABLES_SWAPPED, m.TABLES_SWAPPED.of_file(), (right[1], right[0]), every
    if length > 2:
        for by, side, rows in ((-1, "after", slice(0, -1)), (1, "before", slice(1, None))):
            moved = tuple(Table(table.exact.roll(by, 0), table.bound.roll(by, 0)) for table in right)
            yield m.TABLES_SHIFTED, m.TABLES_SHIFTED.of_file(side=side), (moved[0], moved[1]), rows
    for factor in (2.0, 4.0, 8.0, 0.5, 0.25, 0.125):
        linear = replace(hyper, rope_scaling=RopeScaling("linear", factor=1 / factor))
        yield m.TABLES_SCALED, m.TABLES_SCALED.of_file(factor=factor), rope_tables(linear, length), every


def _fitted_thetas(hyper: Hyperparameters, cosine: torch.Tensor, sine: torch.Tensor) -> Iterator[float]:
    """Yield the thetas whose last frequency is the one between the first two positions, with few digits first."""
    half = hyper.head_dim // 2
    if half < 2 or len(cosine) < 2:
        return
    frequency = math.atan2(float(sine[1, -1]), float(cosine[1, -1]))
    if 0 < frequency < 1:
        theta = frequency ** (-half / (half - 1))
        yield from dict.fromkeys(float(f"{theta:.{digits}g}") for digits in _DIGITS)
