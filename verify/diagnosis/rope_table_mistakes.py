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
from verify.diagnosis import read_off_mistakes as r
from verify.diagnosis.frequencies import mistaken_frequencies
from verify.diagnosis.mistakes import Mistake
from verify.diagnosis.result import Diagnosis, diagnosis_of_tensors
from verify.operations import bounds
from verify.operations.rope_tables import Table, rope_tables
from verify.oracle import rope
from verify.sources import Hyperparameters, RopeScaling

Pair = tuple[torch.Tensor, ...]
TABLES = ("freqs_cos", "freqs_sin")
# Significant digits of a theta that is read off a table.
_DIGITS = (2, 3, 4, 5, 6)
# Near zero a table has the rounding of its angle.
_SLIGHT = 2.0**-14
_FEW = 8  # wrong elements that are still counted one by one


def diagnose_tables(model: reader_c.Model, hyper: Hyperparameters) -> Diagnosis | None:
    """Say what the tables of a v0 file hold; None if they are right, or if the file has none."""
    if not set(TABLES) <= set(model.names):
        return None
    found = tuple(torch.from_numpy(np.array(model.tensor(name), np.float64)) for name in TABLES)
    wrong = _beyond(found, rope_tables(hyper, len(found[0])))
    if not any(part.any() for part in wrong):
        return None
    known = _named(_known(hyper, found)) or _few(wrong) or _named(_read_off(hyper, found))
    return known or diagnosis_of_tensors(m.TABLES_UNKNOWN.name, m.TABLES_UNKNOWN.of_file(), TABLES, (), 2)


def _named(mistakes: Iterator[tuple[Mistake, str]]) -> Diagnosis | None:
    """Name the first of them."""
    for mistake, what in mistakes:
        return diagnosis_of_tensors(mistake.name, what, TABLES, TABLES, len(TABLES))
    return None


def _known(hyper: Hyperparameters, found: Pair) -> Iterator[tuple[Mistake, str]]:
    """Yield the mistakes whose tables are the file's, in the order in which they are tried."""
    for mistake, what, tables, rows in _candidates(hyper, len(found[0])):
        if not any(part[rows].any() for part in _beyond(found, tables)):
            yield mistake, what


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


def _candidates(hyper: Hyperparameters, length: int) -> Iterator[tuple[Mistake, str, tuple[Table, Table], slice]]:
    """Yield (mistake, sentence, the tables that it makes, the rows for which it makes any)."""
    every = slice(None)
    for theta in m.ROPE_THETA.numbers:
        yield *_of_theta(hyper, theta, length), every
    right = rope_tables(hyper, length)
    yield m.TABLES_SWAPPED, m.TABLES_SWAPPED.of_file(), (right[1], right[0]), every
    if length > 2:
        for by, side, rows in ((-1, "after", slice(0, -1)), (1, "before", slice(1, None))):
            moved = tuple(Table(table.exact.roll(by, 0), table.bound.roll(by, 0)) for table in right)
            yield m.TABLES_SHIFTED, m.TABLES_SHIFTED.of_file(side=side), (moved[0], moved[1]), rows
    for factor in (2.0, 4.0, 8.0, 0.5, 0.25, 0.125):
        linear = replace(hyper, rope_scaling=RopeScaling("linear", factor=1 / factor))
        yield m.TABLES_SCALED, m.TABLES_SCALED.of_file(factor=factor), rope_tables(linear, length), every


def _of_theta(hyper: Hyperparameters, theta: float, length: int) -> tuple[Mistake, str, tuple[Table, Table]]:
    what = m.ROPE_THETA.of_file(found=theta, expected=hyper.rope_theta)
    other = replace(hyper, rope_theta=theta, rope_scaling=RopeScaling())
    return m.ROPE_THETA, what, rope_tables(other, length)


def _read_off(hyper: Hyperparameters, found: Pair) -> Iterator[tuple[Mistake, str]]:
    """Yield tables that are right but for their frequencies, signs, precision, or the order of their pairs."""
    right = rope_tables(hyper, len(found[0]))
    for what, signs in (("sines", (1, -1)), ("cosines", (-1, 1)), ("cosines and the sines", (-1, -1))):
        negated = tuple(sign * part for sign, part in zip(signs, found, strict=True))
        if not any(part.any() for part in _beyond(negated, right)):
            yield r.TABLES_NEGATED, r.TABLES_NEGATED.of_file(what=what)
    for what, dtype, step in (("fp16", torch.float16, 2.0**-11), ("bf16", torch.bfloat16, 2.0**-8)):
        held = all(bool((part == part.to(dtype).double()).all()) for part in found)
        pairs = [(part, table.exact) for part, table in zip(found, right, strict=True)]
        if held and all(bool(((a - b).abs() <= step * b.abs() + _SLIGHT).all()) for a, b in pairs):
            yield r.TABLES_NARROWED, r.TABLES_NARROWED.of_file(found=what)
    if len(found[0]) > 2:
        yield from _of_frequencies(hyper, found)


def _of_frequencies(hyper: Hyperparameters, found: Pair) -> Iterator[tuple[Mistake, str]]:
    """Yield the frequencies between the first two positions, if all others have them, too."""
    turn = torch.atan2(found[1][1], found[0][1])
    positions = torch.arange(len(found[0]), dtype=torch.float64).unsqueeze(1)
    # float32 tells a frequency to within an ulp of a sine, which each position multiplies
    room, angles = 2.0**-22 * (1 + positions), positions * turn
    if any(bool(((a - b).abs() > room).any()) for a, b in zip(found, (angles.cos(), angles.sin()), strict=True)):
        return
    right = rope.frequencies(hyper)
    if _equal(turn, right):
        return
    for what, other in mistaken_frequencies(hyper).items():
        if _equal(turn, other):
            yield r.TABLES_FREQUENCIES, r.TABLES_FREQUENCIES.of_file(found=what)
    for theta in _fitted_thetas(hyper, *found):
        mistake, what, tables = _of_theta(hyper, theta, len(found[0]))
        if not any(part.any() for part in _beyond(found, tables)):
            yield mistake, what
    order = [int((right - one).abs().argmin()) for one in turn]
    if _equal(turn, right[order]):
        yield r.TABLES_COLUMNS, r.TABLES_COLUMNS.of_file(order=", ".join(map(str, order)))
    pair = int((turn / right).log().abs().nan_to_num(torch.inf).argmax())
    fields = {"pair": pair, "found": float(turn[pair]), "expected": float(right[pair])}
    yield r.TABLES_OTHER, r.TABLES_OTHER.of_file(**fields)


def _equal(turn: torch.Tensor, other: torch.Tensor) -> bool:
    """Return whether frequencies are equal, as far as float32 tells a small one."""
    return torch.allclose(turn, other, rtol=1e-4, atol=2.0**-22)


def _fitted_thetas(hyper: Hyperparameters, cosine: torch.Tensor, sine: torch.Tensor) -> Iterator[float]:
    """Yield the thetas whose last frequency is the one between the first two positions, with few digits first."""
    half = hyper.head_dim // 2
    if half < 2 or len(cosine) < 2:
        return
    frequency = math.atan2(float(sine[1, -1]), float(cosine[1, -1]))
    if 0 < frequency < 1:
        theta = frequency ** (-half / (half - 1))
        yield from dict.fromkeys(float(f"{theta:.{digits}g}") for digits in _DIGITS)
