"""Derive tensors with their values in another order: rows permuted, rows rolled, a matrix transposed.

llama2.c keeps the two rows of a head that RoPE rotates together side by side. Hugging Face keeps the first row of
each pair in the first half of the head and the second row in the second half ("half-split").
"""

from __future__ import annotations

from collections.abc import Callable

import torch

from verify.diagnosis.derivation import Derivation, Parts, Rows
from verify.sources import Hyperparameters

# (number of rows, hyperparameters) -> for each row of the file, the row of the source that it holds; None if the
# order does not exist
Order = Callable[[int, Hyperparameters], torch.Tensor | None]


def of_heads(kind: str, order: Order) -> Derivation:
    """Derive the rows of one kind of tensor ("attention.wq"), weight or bias, in another order."""

    def derive(rows: Rows) -> Parts | None:
        index = order(len(rows.weights), rows.hyper) if f".{kind}." in rows.name else None
        return None if index is None else rows.stored(rows.weights[index[rows.first : rows.last]])

    return derive


def half_split(rows: int, heads: int, rotated: int = 0) -> torch.Tensor | None:
    """Return Hugging Face's order of rows in llama2.c's. rotated: how many rows of a head have it; 0 for all."""
    if rows % (2 * heads):
        return None
    by_head = torch.arange(rows).view(heads, -1)
    rotated = rotated or by_head.shape[1]
    turned = by_head[:, :rotated].unflatten(1, (-1, 2)).mT.flatten(1)
    return torch.cat((turned, by_head[:, rotated:]), dim=1).flatten()


def interleaved(rows: int, heads: int, rotated: int = 0) -> torch.Tensor | None:
    """Return llama2.c's order of rows in Hugging Face's order. rotated: as in half_split()."""
    if rows % (2 * heads):
        return None
    by_head = torch.arange(rows).view(heads, -1)
    rotated = rotated or by_head.shape[1]
    turned = by_head[:, :rotated].unflatten(1, (2, -1)).mT.flatten(1)
    return torch.cat((turned, by_head[:, rotated:]), dim=1).flatten()


def never_unpermuted(rows: int, hyper: Hyperparameters) -> torch.Tensor | None:
    """Return Hugging Face's order in llama2.c's, of the rows that RoPE rotates."""
    return half_split(rows, rows // hyper.head_dim, hyper.rotated) if rows >= hyper.head_dim else None


def permuted_twice(rows: int, hyper: Hyperparameters) -> torch.Tensor | None:
    """Return the order of rows that were unpermuted although they had llama2.c's order."""
    return interleaved(rows, rows // hyper.head_dim, hyper.rotated) if rows >= hyper.head_dim else None


def whole_heads_permuted(rows: int, hyper: Hyperparameters) -> torch.Tensor | None:
    """Return the order of rows of whole heads that were unpermuted although RoPE rotates a part of each."""
    if hyper.rotated == hyper.head_dim or rows < hyper.head_dim:
        return None
    return then(never_unpermuted(rows, hyper), interleaved(rows, rows // hyper.head_dim))


def then(first: torch.Tensor | None, second: torch.Tensor | None) -> torch.Tensor | None:
    """Apply one order after the other."""
    return None if first is None or second is None else first[second]


def heads_regrouped(rows: int, hyper: Hyperparameters) -> torch.Tensor | None:
    """Return the order in which query heads that share a key are n_kv_heads apart instead of side by side."""
    by_key = torch.arange(rows).view(hyper.n_kv_heads, hyper.n_heads // hyper.n_kv_heads, -1)
    return by_key.transpose(0, 1).reshape(-1)


def pairs_exchanged(rows: int, hyper: Hyperparameters) -> torch.Tensor | None:
    """Return the order in which the two rows of each pair that RoPE rotates have changed places."""
    if rows < hyper.head_dim:
        return None
    by_head = torch.arange(rows).view(-1, hyper.head_dim)
    turned = by_head[:, : hyper.rotated].unflatten(1, (-1, 2)).flip(2).flatten(1)
    return torch.cat((turned, by_head[:, hyper.rotated :]), dim=1).flatten()


def permuted_with_size(size: int, *, half_split_before: bool) -> Order:
    """Return the order of rows that were unpermuted as heads of another size.

    half_split_before: the rows had Hugging Face's order of heads of the right size, as they should.
    """

    def order(rows: int, hyper: Hyperparameters) -> torch.Tensor | None:
        before = never_unpermuted(rows, hyper) if half_split_before else torch.arange(rows)
        return then(before, interleaved(rows, rows // size)) if rows % size == 0 else None

    return order


def shards_joined(count: int, *, of_columns: bool) -> Derivation:
    """Derive shards of columns that were joined as rows, or of rows that were joined as columns; written flat."""

    def derive(rows: Rows) -> Parts | None:
        height, width = rows.weights.shape
        if width == 1 or (width if of_columns else height) % count:
            return None
        if of_columns:
            order = rows.weights.view(height, count, -1).transpose(0, 1)
        else:
            order = rows.weights.view(count, -1, width).transpose(0, 1)
        return rows.stored(order.reshape(height, width)[rows.first : rows.last])

    return derive


def rolled(by: int) -> Derivation:
    """Derive every row (or element of a vector) `by` rows further down."""

    def derive(rows: Rows) -> Parts:
        return rows.stored(rows.weights[(rows.numbers - by) % len(rows.weights)])

    return derive


def transposed(rows: Rows) -> Parts | None:
    """Derive the transpose, written flat if the matrix is not square."""
    height, width = rows.weights.shape
    if width == 1:
        return None
    flat = torch.arange(rows.first * width, rows.last * width)
    values = rows.weights.view(-1)[flat % height * width + flat // height]
    return rows.stored(values.view(-1, width))
