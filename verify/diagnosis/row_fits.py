"""Propose mistakes that are read off a tensor's rows: their order, their signs, and shifted int8.

Unlike row_orders.py, which has the known orders, these fit any order to what was found.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence

import numpy as np
import torch

from verify.diagnosis import conversions as c
from verify.diagnosis import mistakes as m
from verify.diagnosis import quantizers
from verify.diagnosis import read_off_mistakes as r
from verify.diagnosis.bit_comparison import BitComparison
from verify.diagnosis.block_orders import blocks_of_columns, blocks_of_rows
from verify.diagnosis.derivation import Derivation, Parts, Rows
from verify.diagnosis.found_numbers import numbers_beside, numbers_from
from verify.diagnosis.result import ranges
from verify.diagnosis.row_matches import matched_rows, order_of_columns, order_of_rows
from verify.diagnosis.row_orders import of_heads, permuted_with_size
from verify.diagnosis.tensor_mistakes import TensorMistake

# Fewer rows could be damaged each by itself.
_FEWEST_DISPLACED = 4
# Rows from the first difference on whose numbers tell one head's columns from another's.
_SEEN_ROWS = 64
# Numbers that a sentence lists.
_LISTED = 16
_WIDER = (2, 4, 8, 16)
# How exactly float32 scales tell their divisor.
_EXACT = 1e-6


def int8_fits(compared: BitComparison, name: str) -> Iterator[TensorMistake]:
    """Propose int8 with a number added, and scales of wider groups."""
    how = compared.model.storage(name)
    at = compared.first_difference(name)
    if how.storage != "q8_0" or at is None:
        return
    right = compared.rows(name, at, min(at + _SEEN_ROWS, how.shape[0])).healthy()["int8"].numpy().astype(int)
    found = compared.found(name)["int8"][at : at + len(right)].view(np.int8).astype(int)
    by = int(np.median((found - right + 128) % 256 - 128))
    if by:
        fields = (("by", str(abs(by))), ("direction", "high" if by > 0 else "low"))
        added = tuple(quantizers.int8_plus(by, wrapped=wrapped) for wrapped in (False, True))
        yield TensorMistake(m.INT8_OFFSET, added, fields=fields)
    yield from _other_divisors(compared, name, at)
    for times in _WIDER:
        sizes = (("size", str(how.group_size * times)), ("group_size", str(how.group_size)), ("times", str(times)))
        yield TensorMistake(m.GROUPS_OF_ANOTHER_SIZE, (quantizers.wider_groups(times),), fields=sizes)


def _other_divisors(compared: BitComparison, name: str, at: int) -> Iterator[TensorMistake]:
    """Propose the number with few digits by which the largest magnitudes were divided."""
    rows = compared.rows(name, at, min(at + _SEEN_ROWS, compared.model.storage(name).shape[0]))
    peak = rows.own.unflatten(1, (-1, rows.group_size)).abs().amax(dim=2).double()
    scale = torch.from_numpy(compared.found(name)["scale"][at : rows.last].copy().view("f4")).double()
    known = (peak > 0) & (scale > 0)
    if not known.any():
        return
    ratio = float((peak[known] / scale[known]).median())
    divisor = next((d for d in (float(f"{ratio:.{n}g}") for n in range(1, 6)) if abs(d / ratio - 1) < _EXACT), 0.0)
    if divisor and divisor not in (127.0, 128.0):
        recipes = tuple(
            c.requantized(lambda peak: peak / divisor, steps=steps, least=least)
            for least in (-127, -128)
            for steps in (c.to_even, c.away_from_zero)
        )
        yield TensorMistake(m.DIVIDED_BY_ANOTHER, recipes, fields=(("divisor", f"{divisor:g}"),))


# ---- signs ----


def negated_rows(compared: BitComparison, name: str) -> Iterator[TensorMistake]:
    """Propose the opposite sign in some of the rows, or of the columns."""
    weights = compared.weights(name)
    if weights.shape[1] == 1:
        return
    of_rows = torch.ones(len(weights))
    of_columns = torch.zeros(weights.shape[1], dtype=torch.float64)
    for rows, found, expected in numbers_beside(compared, name):
        of_rows[rows] = torch.where((found * expected).sum(1) < 0, -1.0, 1.0)
        of_columns += (found * expected).sum(0)
    signs = {"rows": of_rows.unsqueeze(1), "columns": torch.where(of_columns < 0, -1.0, 1.0).unsqueeze(0)}
    for what, sign in signs.items():
        negative = (sign.flatten() < 0).nonzero().flatten().tolist()
        if 0 < len(negative) < sign.numel():
            fields = (("which", indices(what, negative, sign.numel(), compared.hyper.head_dim)),)
            yield TensorMistake(m.ROWS_NEGATED, (_signed(sign),), fields=fields)


def _signed(sign: torch.Tensor) -> Derivation:
    """sign: (rows, 1) or (1, columns)."""
    of_rows = sign.shape[0] > 1
    return lambda rows: rows.stored(rows.own * (sign[rows.first : rows.last] if of_rows else sign))


def indices(what: str, numbers: Sequence[int], of: int, head_dim: int = 0) -> str:
    """Name rows or columns: "odd rows", "rows 3-7 and 9", "40 of 96 rows, the first of them row 5"."""
    half = head_dim // 2
    if head_dim and of > head_dim and of % head_dim == 0:
        for word, is_second in (("first", False), ("second", True)):
            if list(numbers) == [n for n in range(of) if (n % head_dim >= half) == is_second]:
                return f"the {word} half of each head's {what}"
    for word, first in (("odd", 1), ("even", 0)):
        if list(numbers) == list(range(first, of, 2)):
            return f"{word} {what}"
    text = ranges(numbers)
    if text.count(",") < 4:
        return f"{what if len(numbers) > 1 else what[:-1]} {text}"
    return f"{len(numbers)} of {of} {what}, the first of them {what[:-1]} {numbers[0]}"


# ---- the order of rows, and of the heads of columns ----


def orders(compared: BitComparison, name: str) -> Iterator[TensorMistake]:
    """Propose the order in which the file has the source's rows, or heads of columns."""
    order = order_of_rows(compared, name)
    if order is not None:
        yield from _other_heads(compared, name)
        heads = _heads_of(order, compared.hyper.head_dim) if ".attention.w" in name else None
        if heads is not None:
            fields = (("what", "rows"), ("order", _order_text(heads)))
            yield TensorMistake(m.HEADS_REORDERED, (_taken(torch.tensor(order)),), fields=fields)
        elif compared.weights(name).shape[1] > 1:
            yield from blocks_of_rows(order)
        if heads is None and sorted(order) == list(range(len(order))) and compared.weights(name).shape[1] > 1:
            yield _reordered("row", order, _taken(torch.tensor(order)))
        return
    if ".attention.wo.weight" in name:
        heads = _heads_of_columns(compared, name)
        fields = (("what", "columns"), ("order", _order_text(heads)))
        yield TensorMistake(m.HEADS_REORDERED, (_columns_taken(heads),), fields=fields)
    if compared.weights(name).shape[1] > 1:
        yield from blocks_of_columns(compared, name)
    columns = order_of_columns(compared, name)
    if columns is not None:
        yield _reordered("column", columns, lambda rows: rows.stored(rows.own[:, columns]))


def displaced_rows(compared: BitComparison, name: str) -> Iterator[TensorMistake]:
    """Propose rows that are some places too far on or back from one row on, where rows were inserted or omitted."""
    here, count = compared.first_difference(name), len(compared.weights(name))
    if here is None or here >= count - _FEWEST_DISPLACED or compared.weights(name).shape[1] == 1:
        return
    moved = Counter(row - of for row, of in enumerate(matched_rows(compared, name)) if of is not None and row >= here)
    for by, _ in moved.most_common(2):
        if by == 0 or abs(by) > count // 4 or (here == 0 and abs(by) == 1):
            continue
        rows = f"row {here} is" if abs(by) == 1 else f"rows {here}-{here + abs(by) - 1} are"
        end = f"{rows} {'missing' if by < 0 else 'another one' if by == 1 else 'others'}"
        places = "one place" if abs(by) == 1 else f"{abs(by)} places"
        fields = (("here", str(here)), ("places", places), ("direction", "down" if by > 0 else "up"), ("end", end))
        yield TensorMistake(r.ROWS_DISPLACED, (_displaced(here, -by),), unknown=abs(by), fields=fields)


def _displaced(here: int, by: int) -> Derivation:
    def derive(rows: Rows) -> Parts | None:
        numbers = rows.numbers
        moved = torch.where(numbers >= here, numbers + by, numbers).clamp(0, len(rows.weights) - 1)
        return rows.stored(rows.weights[moved])

    return derive


def _other_heads(compared: BitComparison, name: str) -> Iterator[TensorMistake]:
    """Propose permutations of queries and keys with another number of heads."""
    count, head_dim = len(compared.weights(name)), compared.hyper.head_dim
    kind = next((kind for kind in ("attention.wq", "attention.wk") if f".{kind}." in name), None)
    if kind is None:
        return
    for heads in (heads for heads in range(1, count // 2 + 1) if count % (2 * heads) == 0):
        if heads * head_dim != count:
            derivations = tuple(
                of_heads(of, permuted_with_size(count // heads, half_split_before=before))
                for before in (True, False)
                for of in ("attention.wq", "attention.wk")
            )
            yield TensorMistake(m.PERMUTED_WITH_OTHER_HEADS, derivations, fields=(("size", str(count // heads)),))


def _reordered(what: str, order: Sequence[int], derive: Derivation) -> TensorMistake:
    here = next(here for here, of in enumerate(order) if here != of)
    fields = (("what", what), ("here", str(here)), ("of", str(order[here])))
    return TensorMistake(m.ROWS_REORDERED, (derive,), fields=fields)


def _heads_of(order: Sequence[int], head_dim: int) -> list[int] | None:
    """Return the order of whole heads; None if rows moved within heads."""
    if len(order) % head_dim:
        return None
    heads = [first // head_dim for first in order[::head_dim]]
    whole = [head * head_dim + row for head in heads for row in range(head_dim)]
    return heads if whole == list(order) else None


def _order_text(heads: Sequence[int]) -> str:
    shown = ", ".join(map(str, heads[:_LISTED]))
    return shown if len(heads) <= _LISTED else f"{shown}, ..."


def _taken(order: torch.Tensor) -> Derivation:
    def derive(rows: Rows) -> Parts | None:
        fits = len(order) == len(rows.weights)
        return rows.stored(rows.weights[order[rows.first : rows.last]]) if fits else None

    return derive


def _heads_of_columns(compared: BitComparison, name: str) -> list[int]:
    """Return, for each head of columns, the source's head that is nearest to it in a few rows."""
    head_dim = compared.hyper.head_dim
    seen = numbers_from(compared, name, compared.first_difference(name) or 0, _SEEN_ROWS)
    mine, right = (part.unflatten(1, (-1, head_dim)).transpose(0, 1).flatten(1) for part in seen)
    return [int(head) for head in torch.cdist(mine, right).argmin(dim=1)]


def _columns_taken(heads: Sequence[int]) -> Derivation:
    def derive(rows: Rows) -> Parts | None:
        own = rows.own
        if own.shape[1] % len(heads):
            return None
        return rows.stored(own.unflatten(1, (len(heads), -1))[:, list(heads)].flatten(1))

    return derive


FITS = (int8_fits, negated_rows, orders)
