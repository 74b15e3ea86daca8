"""Propose changes of a tensor's single values: a constant, reciprocals, a limit, small values set to zero.

The number in each is read off the file, for each tensor its own; then the change must give every bit.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch

from verify.diagnosis import conversions as c
from verify.diagnosis import mistakes as m
from verify.diagnosis.bit_comparison import BitComparison
from verify.diagnosis.derivation import Derivation, Parts, Rows
from verify.diagnosis.found_numbers import numbers_beside
from verify.diagnosis.tensor_mistakes import TensorMistake

# Fewer values may be changed so by chance.
_LEAST_VALUES = 8
_LARGEST = torch.finfo(torch.float32).max


@dataclass(frozen=True)
class _Seen:
    """Describes a tensor's numbers in the file. zeroed: the largest of the source's magnitudes where they are 0."""

    least: float
    most: float
    zeroed: float

    @property
    def largest(self) -> float:
        return max(-self.least, self.most)


def value_changes(compared: BitComparison, name: str) -> Iterator[TensorMistake]:
    """Propose what changes each value by itself."""
    if compared.weights(name).numel() < _LEAST_VALUES:
        return

    @functools.cache
    def numbers(of: str) -> _Seen:
        return _seen(compared, of)

    def changed(change: Callable[[torch.Tensor, _Seen], torch.Tensor]) -> tuple[Derivation]:
        def derive(rows: Rows) -> Parts | None:
            return rows.stored(change(rows.own, numbers(rows.name)))

        return (derive,)

    seen = numbers(name)
    if seen.least == seen.most != 0:
        constant = changed(lambda own, _: torch.full_like(own, seen.least))
        yield TensorMistake(m.CONSTANT, constant, fields=(("value", f"{seen.least:.4g}"),))
        return
    # the division's rounding is the writer's own
    yield TensorMistake(m.RECIPROCALS, (c.on_the_way(torch.reciprocal),), ulps=1)
    yield TensorMistake(m.SQUARES, (c.on_the_way(torch.square),), ulps=1)
    yield TensorMistake(m.SQUARE_ROOTS, (c.on_the_way(torch.sqrt),), ulps=1)
    yield TensorMistake(m.MAGNITUDES, (c.on_the_way(torch.abs),))
    if math.isfinite(seen.largest):
        yield TensorMistake(m.CLIPPED, changed(lambda own, its: own.clamp(-its.largest, its.largest)))
    if seen.zeroed > 0:
        yield TensorMistake(m.PRUNED, changed(lambda own, its: torch.where(own.abs() <= its.zeroed, 0.0, own)))


def _seen(compared: BitComparison, name: str) -> _Seen:
    least, most, zeroed = math.inf, -math.inf, 0.0
    for _rows, found, expected in numbers_beside(compared, name):
        least, most = min(least, float(found.min())), max(most, float(found.max()))
        zeroed = max(zeroed, float(torch.where(found == 0, expected.abs(), 0.0).max()))
    # an int8 times its scale may be beyond float32
    return _Seen(max(least, -_LARGEST), min(most, _LARGEST), zeroed)
