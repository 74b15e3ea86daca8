"""Judge products of int8 activations with int8 weights: to the bit, and within their error bound.

A group's sum of integers is exact, and float32 adds the groups in one order, so the result needs no tolerance. The
bound limits an engine that adds the groups in another order.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch

from verify.operations import bounds
from verify.operations.comparison import Comparison, replayed


def judge_steps(operation: str, x: torch.Tensor, steps: torch.Tensor, scale: torch.Tensor) -> Iterator[Comparison]:
    """Compare int8 activations (windows, length, in_features) and scales (windows, length, groups) with float32 x.

    Each is compared within its error bound, and again bit for bit.
    """
    groups = scale.shape[-1]
    grouped = x.unflatten(-1, (groups, -1))
    peak = grouped.abs().amax(-1)
    bound = bounds.activation_scale(peak.double())
    yield Comparison(f"{operation} scale", scale.double(), peak.double() / 127, bound)
    again = steps.double().unflatten(-1, (groups, -1)) * scale.double().unsqueeze(-1)
    bound = bounds.activation_step(scale.double()).unsqueeze(-1).expand_as(again)
    yield Comparison(f"{operation} int8", again.flatten(-2), x.double(), bound.flatten(-2))

    own = peak / 127.0
    yield replayed(f"{operation} scale", scale, own)
    yield replayed(f"{operation} int8", steps, half_away(quotients(x, groups)).clamp(-127, 127))


def quotients(x: torch.Tensor, groups: int) -> torch.Tensor:
    """Divide x by the scales of its groups in float32, and return float64; a group of zeros gives zeros."""
    grouped: torch.Tensor = x.unflatten(-1, (groups, -1))
    scale = grouped.abs().amax(-1, keepdim=True) / 127.0
    return torch.where(scale > 0, grouped / scale, 0.0).double().flatten(-2)


def half_away(quotient: torch.Tensor) -> torch.Tensor:
    """Round to the nearest integer, halves away from zero, in float64, where adding a half is exact."""
    return torch.copysign((quotient.abs() + 0.5).floor(), quotient)


class Replay:
    """Computes a product again in the engine's own order.

    It reads int8 activations (tokens, in_features) with scales (tokens, groups), and a matrix: int8 (rows,
    in_features) and scale (rows, groups).
    """

    def __init__(self, steps: torch.Tensor, scale: torch.Tensor, stored: tuple[torch.Tensor, torch.Tensor]) -> None:
        groups = scale.shape[1]
        self._size = steps.shape[1] // groups
        # float32 holds integers up to 2^24; a group's sum beyond that needs float64
        self._type = torch.float32 if self._size * 127 * 128 <= 1 << 24 else torch.float64
        self._steps = steps.to(self._type).unflatten(1, (groups, -1)).transpose(0, 1).contiguous()
        self._scale = scale.T.unsqueeze(2)
        self._matrix, self._matrix_scale = stored

    def _groups(self, rows: slice) -> Iterator[tuple[torch.Tensor, torch.Tensor, torch.Tensor]]:
        """Yield for each group: sums of integers (tokens, rows), scales of the matrix (rows,), of inputs (tokens,
        1)."""
        matrix = self._matrix[rows].to(self._type).unflatten(1, (-1, self._size)).transpose(0, 1)
        scales = self._matrix_scale[rows].T.contiguous()
        for group, steps in enumerate(self._steps):
            yield steps @ matrix[group].T, scales[group], self._scale[group]

    def judge(self, rows: slice, bias: torch.Tensor | None) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Compute (bits, exact, bound), each (tokens, rows).

        bits: float32 as runq.c rounds it: the integer sum, times the scale of the weights, times the scale of the
        activations, added to the groups before. exact: float64 without the bias. bound: how far float32 may be from
        it.
        """
        shape = (self._steps.shape[1], len(self._matrix[rows]))
        bits, magnitudes = torch.zeros(shape), torch.zeros(shape)
        exact = torch.zeros(shape, dtype=torch.float64)
        for integers, of_matrix, of_steps in self._groups(rows):
            exact.addcmul_(integers.double().mul_(of_matrix), of_steps.double())
            part = integers.float().mul_(of_matrix).mul_(of_steps)
            bits += part
            magnitudes += part.abs_()
        # the terms are positive and have three roundings each, so the relative error of a float32 sum is a gamma
        groups = len(self._steps)
        above = magnitudes.double() * (1 + 2 * bounds.gamma(groups + 3)) + 2 * groups * bounds.TAU
        bound = bounds.quantized_product(above, groups, self._size)
        return bits if bias is None else bits + bias[rows], exact, bound
