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

TABLES = ("freqs_cos", "freqs_sin")
# Significant digits of a theta that is read off a table.
_DIGITS = (2, 3, 4, 5, 6)


def diagnose_tables(model: reader_c.Model, hyper: Hyperparameters) -> Diagnosis | None:
    """Say what the tables of a v0 file hold; None if they are right, or if the file has none."""
    if not set(TABLES) <= set(model.names):
        return None
    cosine, sine = (torch.from_numpy(np.array(model.tensor(name), np.float64)) for name in TABLES)
    length = len(cosine)
    if _are((cosine, sine), rope_tables(hyper, length)):
        return None
    for mistake, what, tables in _candidates(hyper, cosine, sine):
        if _are((cosine, sine), tables):
            return diagnosis_of_tensors(mistake.name, what, TABLES, TABLES, len(TABLES))
    return diagnosis_of_tensors(m.TABLES_UNKNOWN.name, m.TABLES_UNKNOWN.of_file(), TABLES, (), len(TABLES))


def _are(found: tuple[torch.Tensor, torch.Tensor], tables: tuple[Table, Table]) -> bool:
    return all(
        bool((bounds.utilisation((mine - table.exact).abs(), table.bound) <= 1).all())
        for mine, table in zip(found, tables, strict=True)
    )


def _candidates(
    hyper: Hyperparameters, cosine: torch.Tensor, sine: torch.Tensor
) -> Iterator[tuple[Mistake, str, tuple[Table, Table]]]:
    length = len(cosine)
    for theta in (*m.ROPE_THETA.numbers, *_fitted_thetas(hyper, cosine, sine)):
        what = m.ROPE_THETA.of_file(found=theta, expected=hyper.rope_theta)
        other = replace(hyper, rope_theta=theta, rope_scaling=RopeScaling())
        yield m.ROPE_THETA, what, rope_tables(other, length)
    right = rope_tables(hyper, length)
    yield m.TABLES_SWAPPED, m.TABLES_SWAPPED.of_file(), (right[1], right[0])
    longer = rope_tables(hyper, length + 1)
    late = tuple(Table(table.exact[1:], table.bound[1:]) for table in longer)
    yield m.TABLES_SHIFTED, m.TABLES_SHIFTED.of_file(), (late[0], late[1])
    for factor in (2.0, 4.0, 8.0, 0.5, 0.25, 0.125):
        linear = replace(hyper, rope_scaling=RopeScaling("linear", factor=1 / factor))
        yield m.TABLES_SCALED, m.TABLES_SCALED.of_file(factor=factor), rope_tables(linear, length)


def _fitted_thetas(hyper: Hyperparameters, cosine: torch.Tensor, sine: torch.Tensor) -> Iterator[float]:
    """Yield the thetas whose last frequency is the one between the first two positions, with few digits first."""
    half = hyper.head_dim // 2
    if half < 2 or len(cosine) < 2:
        return
    frequency = math.atan2(float(sine[1, -1]), float(cosine[1, -1]))
    if 0 < frequency < 1:
        theta = frequency ** (-half / (half - 1))
        yield from dict.fromkeys(float(f"{theta:.{digits}g}") for digits in _DIGITS)
