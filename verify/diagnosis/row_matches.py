"""Match rows and columns of a file's tensor with those of the source."""

from __future__ import annotations

import torch

from verify.diagnosis.bit_comparison import BitComparison, Bits, bits
from verify.diagnosis.derivation import healthy
from verify.diagnosis.found_numbers import numbers_from

# Rows from the first difference on whose numbers tell one column from another.
_SEEN_ROWS = 64
# Columns of int8 that are compared each with each: their distances take 64 MiB.
_MOST_COLUMNS = 4096


def order_of_rows(compared: BitComparison, name: str) -> list[int] | None:
    """Return, for each row of the file, the source's row with the same bits; None if any has none."""
    order = matched_rows(compared, name)
    return None if None in order else [row for row in order if row is not None]


def matched_rows(compared: BitComparison, name: str) -> list[int | None]:
    """Return, for each row of the file, the source's row with the same bits, or None."""
    of_bits: dict[int, int] = {}
    right: list[int] = []
    for block in compared.differences(name, healthy):
        assert block is not None
        rows, derived, _, _ = block
        right += _hashes(derived)
        for row, key in enumerate(right[rows.first :], rows.first):
            of_bits.setdefault(key, row)
    return [row if key == right[row] else of_bits.get(key) for row, key in enumerate(_hashes(compared.found(name)))]


def _hashes(parts: Bits) -> list[int]:
    count = len(next(iter(parts.values())))
    return [hash(tuple(part[row].tobytes() for part in parts.values())) for row in range(count)]


def order_of_columns(compared: BitComparison, name: str) -> list[int] | None:
    """Return, for each column of the file, the source's that a few rows show it to be; None if it is no new order."""
    how, at = compared.model.storage(name), compared.first_difference(name) or 0
    if compared.weights(name).shape[1] == 1:
        return None
    if how.storage == "q8_0":
        order = _nearest_columns(compared, name, at)
    else:
        right = bits(compared.rows(name, at, min(at + _SEEN_ROWS, how.shape[0])).healthy()[how.storage]).T
        found = compared.found(name)[how.storage][at : at + right.shape[1]].T
        of_bits = {column.tobytes(): place for place, column in enumerate(right)}
        order = [of_bits.get(column.tobytes(), -1) for column in found]
    return order if sorted(order) == list(range(len(order))) and order != sorted(order) else None


def _nearest_columns(compared: BitComparison, name: str, at: int) -> list[int]:
    """Compare numbers, because int8 of other groups are other ones."""
    found, right = (part.float().T for part in numbers_from(compared, name, at, _SEEN_ROWS))
    if len(right) > _MOST_COLUMNS or not torch.isfinite(found).all():
        return []
    order: list[int] = torch.cdist(found, right).argmin(dim=1).tolist()
    return order
