"""A file beside its source, and how a supposed mistake is held against it: rows at a time, bit for bit."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

import reader_c
from verify.oracle.expected import parts
from verify.sources import Hyperparameters, Source

Parts = dict[str, torch.Tensor]
Bits = dict[str, NDArray[Any]]

# Elements derived at a time: enough to vectorise, little beside a tensor.
_BLOCK = 1 << 18
# Rows from the first difference on that a mistake must get right before the whole tensor is derived.
_PROBE_ROWS = 16

_UNSIGNED: dict[int, type[np.unsignedinteger[Any]]] = {1: np.uint8, 2: np.uint16, 4: np.uint32}


@dataclass(frozen=True)
class Rows:
    """Rows first to last (exclusive) of one of the file's tensors, to be derived.

    weights: the whole of the source's tensor, float32 (rows, width); a vector is one column.
    """

    name: str
    weights: torch.Tensor
    first: int
    last: int
    storage: str
    group_size: int
    model: Hyperparameters

    @property
    def own(self) -> torch.Tensor:
        """The source's same rows."""
        return self.weights[self.first : self.last]

    @property
    def numbers(self) -> torch.Tensor:
        """int64: which rows these are."""
        return torch.arange(self.first, self.last)

    def stored(self, weights: torch.Tensor) -> Parts:
        """What the file would hold of these rows if they were the weights given."""
        return parts(weights, self.storage, self.group_size)

    def healthy(self) -> Parts:
        return self.stored(self.own)


# What a mistake leaves of some rows, in the parts and shapes of their storage; None where it cannot be made.
Derivation = Callable[[Rows], Parts | None]


def healthy(rows: Rows) -> Parts:
    return rows.healthy()


class Case:
    """One tensor of the source is held at a time."""

    def __init__(self, model: reader_c.Model, source: Source) -> None:
        self.model, self.source = model, source
        self.hyperparameters = source.hyperparameters
        self.shapes = self.hyperparameters.shapes()
        self._held: tuple[str, torch.Tensor] | None = None
        self._first_differences: dict[str, int | None] = {}

    def weights(self, name: str) -> torch.Tensor:
        """The source's tensor, float32 (rows, width); a vector is one column."""
        if self._held is None or self._held[0] != name:
            self._held = None  # let go before the next one is read
            tensor = self.source.tensor(name)
            self._held = name, tensor.view(len(tensor), -1)
        return self._held[1]

    def found(self, name: str) -> Bits:
        """The file's parts as unsigned integers: (rows, width), and (rows, groups) of scales."""
        spans = self.model.spans(name)
        views = {span.part: self.model.view(span) for span in spans}
        return {part: _unsigned(view.reshape(len(view), -1)) for part, view in views.items()}

    def rows(self, name: str, first: int, last: int) -> Rows:
        how = self.model.storage(name)
        weights = self.weights(name)
        return Rows(name, weights, first, last, how.storage, how.group_size, self.hyperparameters)

    def differences(
        self, name: str, derive: Derivation, first: int = 0, last: int | None = None
    ) -> Iterator[tuple[Rows, Bits, Bits, dict[str, NDArray[np.bool_]]] | None]:
        """(rows, derived, found, where they differ), a block of rows at a time; None where the mistake cannot be
        made."""
        found, weights = self.found(name), self.weights(name)
        last = len(weights) if last is None else min(last, len(weights))
        step = max(1, _BLOCK // weights.shape[1])
        for start in range(first, last, step):
            rows = self.rows(name, start, min(start + step, last))
            made = derive(rows)
            if made is None:
                yield None
                return
            derived = {part: bits(tensor) for part, tensor in made.items()}
            # copies, because parts may stand at any address
            here = {part: np.array(view[rows.first : rows.last]) for part, view in found.items()}
            yield rows, derived, here, {part: derived[part] != here[part] for part in here}

    def first_difference(self, name: str) -> int | None:
        """The first row that is not what the source gives; None where there is none."""
        if name not in self._first_differences:
            self._first_differences[name] = self._first_wrong_row(name)
        return self._first_differences[name]

    def _first_wrong_row(self, name: str) -> int | None:
        for block in self.differences(name, healthy):
            assert block is not None
            rows, _, _, differ = block
            wrong = _wrong_rows(differ)
            if wrong.any():
                return rows.first + int(wrong.argmax())
        return None

    def explains(self, name: str, derive: Derivation, unknown: int = 0) -> bool:
        """Whether the mistake gives every bit of a tensor that differs, but for at most this many rows."""
        at = self.first_difference(name)
        return (
            at is not None
            and self._gives(name, derive, unknown, at, at + _PROBE_ROWS)
            and self._gives(name, derive, unknown)
        )

    def _gives(self, name: str, derive: Derivation, unknown: int, first: int = 0, last: int | None = None) -> bool:
        wrong = right = 0
        for block in self.differences(name, derive, first, last):
            if block is None:
                return False
            rows, _, _, differ = block
            bad = int(_wrong_rows(differ).sum())
            wrong += bad
            right += rows.last - rows.first - bad
            if wrong > unknown:
                return False
        # what is left open must be little beside what came out right
        return wrong == 0 or right > 2 * wrong


def _wrong_rows(differ: dict[str, NDArray[np.bool_]]) -> NDArray[np.bool_]:
    """(rows,): whether any part of the row differs."""
    wrong: NDArray[np.bool_] = np.logical_or.reduce([part.any(axis=1) for part in differ.values()])
    return wrong


def bits(tensor: torch.Tensor) -> NDArray[Any]:
    """A part as unsigned integers of its width."""
    if tensor.dtype == torch.bfloat16:
        tensor = tensor.view(torch.int16)
    return _unsigned(tensor.contiguous().numpy())


def _unsigned(array: NDArray[Any]) -> NDArray[Any]:
    return array.view(_UNSIGNED[array.dtype.itemsize])
