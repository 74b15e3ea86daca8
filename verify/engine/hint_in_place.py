"""List products whose result is written over what they still read, row by row, and other buffers that are shared."""

from __future__ import annotations

from collections.abc import Iterator

import torch

from verify.diagnosis import engine_mistakes as m
from verify.engine.hint_operands import NAMES, PRODUCTS
from verify.engine.hint_reference import Load, MistakenReference
from verify.engine.hint_rewired import LayerSoFar, Rewire, rewired
from verify.oracle import llama
from verify.sources import Hyperparameters


def of_in_place(hyper: Hyperparameters, load: Load) -> Iterator[MistakenReference]:
    """Yield the mistakes."""
    shapes = hyper.shapes()
    for result, (matrix, right) in PRODUCTS.items():
        if f"layers.0.{matrix}.weight" not in shapes:
            continue
        sentence = m.IN_PLACE.of_engine(matrix=matrix.split(".")[1], read=NAMES[right])
        yield MistakenReference(m.IN_PLACE, sentence, hyper, load, run=rewired(_in_place(result, matrix, right)))


def _in_place(result: str, matrix: str, right: str) -> Rewire:
    """Compute y[i] = sum over j < i of w[i, j] y[j] + sum over j >= i of w[i, j] x[j]."""

    def change(operation: str, y: torch.Tensor, seen: LayerSoFar) -> torch.Tensor:
        # int8 activations are a copy, which nothing overwrites
        if operation != result or right not in seen.made or seen.inputs is not llama.unrounded:
            return y
        x, name = seen.made[right], f"layers.{seen.number}.{matrix}"
        w = seen.load(f"{name}.weight").to(x.dtype)
        bias = seen.load(f"{name}.bias").to(x.dtype) if f"{name}.bias" in seen.hyper.shapes() else w.new_zeros(len(w))
        both = min(w.shape)
        first, rest = w[:both], w[both:]
        unread = x @ first.triu().T + bias[:both]
        # the rows so far are already there: (I - L) y = U x
        left = torch.eye(both, dtype=x.dtype) - first[:, :both].tril(-1)
        rows = torch.linalg.solve_triangular(left, unread.flatten(0, -2).T, upper=False, unitriangular=True)
        made: torch.Tensor = rows.T.reshape(unread.shape)
        if not len(rest):
            return made
        over = torch.cat((made, x[..., both:]), dim=-1)
        return torch.cat((made, over @ rest.T + bias[both:]), dim=-1)

    return change
