"""Recognise equal blocks of rows or columns in another order, as shards have that were joined wrongly.

Meta's checkpoints, for example, cut most matrices into equal shards of rows, and wo and w2 into shards of columns.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence

import torch

from verify.diagnosis import read_off_mistakes as r
from verify.diagnosis.bit_comparison import BitComparison
from verify.diagnosis.derivation import Derivation, Parts, Rows
from verify.diagnosis.found_numbers import numbers_from
from verify.diagnosis.result import Diagnosis, diagnosis_of_tensors, layer_and_kind, listed
from verify.diagnosis.row_matches import order_of_rows
from verify.diagnosis.tensor_mistakes import TensorMistake

_COUNTS = range(2, 9)
# Fewer rows or columns are no shard.
_FEWEST = 4
# Rows from the first difference on whose numbers tell one block of columns from another.
_SEEN_ROWS = 64


def blocks_of_rows(order: Sequence[int]) -> Iterator[TensorMistake]:
    """Propose blocks for an order of rows: for each row of the file, the source's row that it holds."""
    for count in _counts(len(order)):
        size = len(order) // count
        places: list[int] = []
        for block in range(count):
            rows = range(block * size, (block + 1) * size)
            of = Counter(order[row] // size for row in rows if order[row] % size == row % size)
            places += [place for place, _ in of.most_common(1)]
        if len(places) == count and places != list(range(count)):
            yield _in_order(places)


def blocks_of_columns(compared: BitComparison, name: str) -> Iterator[TensorMistake]:
    """Propose blocks of columns, each the source's block that is nearest to it in a few rows."""
    width = compared.weights(name).shape[1]
    found, expected = numbers_from(compared, name, compared.first_difference(name) or 0, _SEEN_ROWS)
    if not torch.isfinite(found).all():
        return
    for count in _counts(width):
        mine, right = (part.unflatten(1, (count, -1)).transpose(0, 1).flatten(1) for part in (found, expected))
        places = [int(place) for place in torch.cdist(mine, right).argmin(dim=1)]
        if places != list(range(count)):
            yield _in_order(places)


def _counts(size: int) -> Iterator[int]:
    return (count for count in _COUNTS if size % count == 0 and size // count >= _FEWEST)


def diagnose_blocks(compared: BitComparison, differing: Sequence[str]) -> Diagnosis | None:
    """Return the order of blocks that explains most tensors, whatever other names some of them may have."""
    explained: dict[TensorMistake, list[str]] = {}
    seen: set[str] = set()
    for name in differing:
        kind = layer_and_kind(name)[1]
        if kind in seen or compared.weights(name).shape[1] == 1:
            continue
        seen.add(kind)
        order = order_of_rows(compared, name)
        of_name = blocks_of_columns(compared, name) if order is None else blocks_of_rows(order)
        mistake = next((one for one in of_name if one not in explained and one.explains(compared, name)), None)
        if mistake is not None:
            explained[mistake] = [of for of in differing if mistake.explains(compared, of)]
    if not explained:
        return None
    best = max(explained, key=lambda one: len(explained[one]))
    names = explained[best]
    return diagnosis_of_tensors(best.mistake.name, best.sentence(compared, names), names, names, len(differing))


def _in_order(places: Sequence[int]) -> TensorMistake:
    fields = (("count", str(len(places))), ("order", ", ".join(map(str, places))))
    of_rows = _rows_taken(places)

    def described(compared: BitComparison, names: Sequence[str]) -> dict[str, object]:
        of_columns = [name for name in names if not compared.explains(name, of_rows)]
        if not of_columns:
            return {"what": "rows"}
        if len(of_columns) == len(names):
            return {"what": "columns"}
        kinds = list(dict.fromkeys(layer_and_kind(name)[1] for name in of_columns))
        return {"what": f"rows, or of columns in {listed(kinds)},"}

    return TensorMistake(r.BLOCKS_REORDERED, (of_rows, _columns_taken(places)), fields=fields, seen=described)


def _rows_taken(places: Sequence[int]) -> Derivation:
    def derive(rows: Rows) -> Parts | None:
        count = len(rows.weights)
        if count % len(places):
            return None
        index = torch.arange(count).view(len(places), -1)[list(places)].flatten()
        return rows.stored(rows.weights[index[rows.first : rows.last]])

    return derive


def _columns_taken(places: Sequence[int]) -> Derivation:
    def derive(rows: Rows) -> Parts | None:
        own = rows.own
        if own.shape[1] % len(places):
            return None
        return rows.stored(own.unflatten(1, (len(places), -1))[:, list(places)].flatten(1))

    return derive
