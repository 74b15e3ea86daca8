"""Compare a file with its source bit by bit, as if its writer had made a certain mistake."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

import reader_c
from verify.diagnosis.derivation import Derivation, Rows, healthy
from verify.sources import Source

# Part's name -> its values as unsigned integers.
Bits = dict[str, NDArray[Any]]

# Elements that are derived at a time: enough for fast array operations, and few compared with a tensor.
_BLOCK = 1 << 18
# Rows from the first difference on that a mistake must explain before the whole tensor is derived.
_PROBE_ROWS = 16

_UNSIGNED: dict[int, type[np.unsignedinteger[Any]]] = {1: np.uint8, 2: np.uint16, 4: np.uint32}


class BitComparison:
    """Compares the tensors of a file with those of its source; it holds one source tensor at a time."""

    def __init__(self, model: reader_c.Model, source: Source) -> None:
        self.model, self.source = model, source
        self.hyper = source.hyperparameters
        self.shapes = self.hyper.shapes()
        self._held: tuple[str, torch.Tensor] | None = None
        self._first_differences: dict[str, int | None] = {}

    def weights(self, name: str) -> torch.Tensor:
        """Return the source's tensor, float32 (rows, width); a vector has one column."""
        if self._held is None or self._held[0] != name:
            self._held = None  # freed before the next tensor is read
            tensor = self.source.tensor(name)
            self._held = name, tensor.view(len(tensor), -1)
        return self._held[1]

    def found(self, name: str) -> Bits:
        """Return the file's parts as unsigned integers: (rows, width), and (rows, groups) for scales."""
        spans = self.model.spans(name)
        views = {span.part: self.model.view(span) for span in spans}
        return {part: _unsigned(view.reshape(len(view), -1)) for part, view in views.items()}

    def rows(self, name: str, first: int, last: int) -> Rows:
        """Describe rows of a tensor for a derivation."""
        how = self.model.storage(name)
        return Rows(name, self.weights(name), first, last, how.storage, how.group_size, self.hyper)

    def differences(
        self, name: str, derive: Derivation, first: int = 0, last: int | None = None
    ) -> Iterator[tuple[Rows, Bits, Bits, dict[str, NDArray[np.bool_]]] | None]:
        """Yield (rows, derived, found, where they differ) for each block of rows; None if the mistake cannot happen
        to this tensor."""
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
            # copies, because parts in a file may have any address
            here = {part: np.array(view[rows.first : rows.last]) for part, view in found.items()}
            yield rows, derived, here, {part: derived[part] != here[part] for part in here}

    def first_difference(self, name: str) -> int | None:
        """Return the first row that differs from what the source gives; None if no row does."""
        if name not in self._first_differences:
            self._first_differences[name] = self._first_wrong_row(name)
        return self._first_differences[name]

    def _first_wrong_row(self, name: str) -> int | None:
        for block in self.differences(name, healthy):
            assert block is not None
            rows, _, _, differ = block
            wrong = wrong_rows(differ)
            if wrong.any():
                return rows.first + int(wrong.argmax())
        return None

    def explains(self, name: str, derive: Derivation, unknown: int = 0, ulps: int = 0) -> bool:
        """Return whether the mistake gives every bit of a differing tensor, except in at most `unknown` rows.

        ulps: steps of the stored type by which a float may be off.
        """
        at = self.first_difference(name)
        return (
            at is not None
            and self._gives(name, derive, unknown, at, at + _PROBE_ROWS, ulps)
            and self._gives(name, derive, unknown, ulps=ulps)
        )

    def _gives(
        self, name: str, derive: Derivation, unknown: int, first: int = 0, last: int | None = None, ulps: int = 0
    ) -> bool:
        wrong = right = 0
        for block in self.differences(name, derive, first, last):
            if block is None:
                return False
            rows, derived, found, differ = block
            if ulps:
                differ = {part: _far(derived[part], found[part], 0 if part == "int8" else ulps) for part in found}
            bad = int(wrong_rows(differ).sum())
            wrong += bad
            right += rows.last - rows.first - bad
            if wrong > unknown:
                return False
        # unexplained rows must be few compared with the explained ones
        return wrong == 0 or right > 2 * wrong


def _far(derived: NDArray[Any], found: NDArray[Any], steps: int) -> NDArray[np.bool_]:
    """Return where two floats of the same sign are more than so many steps apart; other signs are always far."""
    apart: NDArray[np.bool_] = np.abs(derived.astype(np.int64) - found.astype(np.int64)) > steps
    return apart


def wrong_rows(differ: dict[str, NDArray[np.bool_]]) -> NDArray[np.bool_]:
    """Return (rows,): whether any part of the row differs."""
    wrong: NDArray[np.bool_] = np.logical_or.reduce([part.any(axis=1) for part in differ.values()])
    return wrong


def bits(tensor: torch.Tensor) -> NDArray[Any]:
    """Return a part as unsigned integers of its width."""
    if tensor.dtype == torch.bfloat16:
        tensor = tensor.view(torch.int16)
    return _unsigned(tensor.contiguous().numpy())


def _unsigned(array: NDArray[Any]) -> NDArray[Any]:
    return array.view(_UNSIGNED[array.dtype.itemsize])
