"""Mistakes with the order of values in a tensor: rows permuted, rolled, a matrix transposed.

llama2.c keeps the two rows of a head that RoPE turns together side by side; Hugging Face keeps a head's first ones
before its second ones ("half-split").
"""

from __future__ import annotations

from collections.abc import Callable

import torch

from verify.diagnosis.case import Derivation, Parts, Rows
from verify.sources import Hyperparameters

# (number of rows, model) -> for each row of the file, the source's row that it holds; None where there is none
Order = Callable[[int, Hyperparameters], torch.Tensor | None]


def of_heads(kind: str, order: Order) -> Derivation:
    """The rows of one kind of tensor ("attention.wq"), weight or bias, in another order."""

    def derive(rows: Rows) -> Parts | None:
        index = order(len(rows.weights), rows.model) if f".{kind}." in rows.name else None
        return None if index is None else rows.stored(rows.weights[index[rows.first : rows.last]])

    return derive


def half_split(rows: int, heads: int) -> torch.Tensor | None:
    """llama2.c's order to Hugging Face's."""
    return torch.arange(rows).view(heads, -1, 2).mT.reshape(-1) if rows % (2 * heads) == 0 else None


def interleaved(rows: int, heads: int) -> torch.Tensor | None:
    """Hugging Face's order to llama2.c's."""
    return torch.arange(rows).view(heads, 2, -1).mT.reshape(-1) if rows % (2 * heads) == 0 else None


def then(first: torch.Tensor | None, second: torch.Tensor | None) -> torch.Tensor | None:
    """One order after the other."""
    return None if first is None or second is None else first[second]


def heads_regrouped(rows: int, model: Hyperparameters) -> torch.Tensor | None:
    """Query heads that share a key stand n_kv_heads apart instead of side by side."""
    by_key = torch.arange(rows).view(model.n_kv_heads, model.n_heads // model.n_kv_heads, -1)
    return by_key.transpose(0, 1).reshape(-1)


def rolled(by: int) -> Derivation:
    """Every row (or element of a vector) stands `by` rows further down."""

    def derive(rows: Rows) -> Parts:
        return rows.stored(rows.weights[(rows.numbers - by) % len(rows.weights)])

    return derive


def transposed(rows: Rows) -> Parts | None:
    """The transpose, written flat where the shape is not square."""
    height, width = rows.weights.shape
    if width == 1:
        return None
    flat = torch.arange(rows.first * width, rows.last * width)
    values = rows.weights.view(-1)[flat % height * width + flat // height]
    return rows.stored(values.view(-1, width))
