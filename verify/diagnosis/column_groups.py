"""Derive Q8_0 from the transpose of a matrix: groups that run down its columns, or int8 that stand transposed."""

from __future__ import annotations

import math

import torch

from verify.diagnosis.derivation import Derivation, Parts, Rows
from verify.oracle.expected import quantized


def groups_of_columns(*, scales_transposed: bool) -> Derivation:
    """Derive the int8 and scales that the transpose has, with the int8 turned back.

    scales_transposed: the scales are turned back, too, so that they stand by groups of rows and then by columns.
    """

    def derive(rows: Rows) -> Parts | None:
        (height, width), size = rows.weights.shape, rows.group_size
        if rows.storage != "q8_0" or width == 1 or height % size:
            return None
        # only the groups that these rows are in
        first, last = rows.first // size * size, -(-rows.last // size) * size
        of_transpose = quantized(rows.weights[first:last].T.contiguous(), size)[0].T
        peak = rows.weights.unflatten(0, (-1, size)).abs().amax(dim=1)
        scale = peak / 127 if scales_transposed else peak.T / 127
        return {
            "int8": of_transpose[rows.first - first : rows.last - first].contiguous(),
            "scale": scale.reshape(height, -1)[rows.first : rows.last],
        }

    return derive


def int8_transposed(rows: Rows) -> Parts | None:
    """Derive the right scales, and the int8 of the transposed matrix, written flat."""
    (height, width), size = rows.weights.shape, rows.group_size
    if rows.storage != "q8_0" or width == 1:
        return None
    begin, end = rows.first * width, rows.last * width
    # only the columns whose int8 these rows hold, in whole groups
    first, last = begin // height // size * size, math.ceil(end / height / size) * size
    flat = quantized(rows.weights[:, first:last].contiguous(), size)[0].T.flatten()
    q = flat[begin - first * height : end - first * height].view(-1, width)
    return {"int8": q, "scale": rows.healthy()["scale"]}


def largest_of_group(rows: Rows, _peak: torch.Tensor) -> torch.Tensor:
    """Return the largest value of each group, with its sign."""
    return rows.own.view(len(rows.own), -1, rows.group_size).amax(dim=2)
