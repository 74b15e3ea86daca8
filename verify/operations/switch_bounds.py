"""Bound operations that models have beyond Llama: constants of the model, caps by tanh, and scaled queries.

docs/error-bounds.md derives each formula. What `bounds` says about tensors and inputs holds here, too.
"""

from __future__ import annotations

import torch

from reader_c import Arithmetic
from verify.operations.bounds import TAU, gamma, total
from verify.oracle.expected import UNIT

# Errors of tanh in units in the last place, as in `bounds`: of the C library, whose tests record 2 and which reaches
# 2.19, and of `fast`.
TANH_ULPS: dict[Arithmetic, float] = {"mirror": 3, "fast": 2.6}
# Beyond this, tanh is 1 in float32 and moves no more.
_TANH_SATURATES = 50.0


def of_constant(constant: float) -> float:
    """Return the relative error of a constant that engines hold in float32, in units of u."""
    single = torch.tensor(constant, dtype=torch.float32).item()
    return abs(single / constant - 1) / UNIT


def scaled(exact: torch.Tensor, scale: float) -> torch.Tensor:
    """Bound a number times a constant. exact: includes the constant."""
    return total(exact.abs() * gamma(1 + of_constant(scale)), TAU / 2)


def divided(exact: torch.Tensor, divisor: float) -> torch.Tensor:
    """Bound a number divided by a constant, or the number itself where that is 1. exact: includes the divisor."""
    return torch.zeros_like(exact) if divisor == 1 else scaled(exact, divisor)


def capped(
    exact: torch.Tensor, raw: torch.Tensor, cap: float, arithmetic: Arithmetic, divisor: float = 1.0
) -> torch.Tensor:
    """Bound cap * tanh(raw / cap). raw: as recorded, or the exact quotient of what was recorded and a divisor."""
    share = (raw / cap).abs().clamp(max=_TANH_SATURATES)
    # d log tanh(z) / d log z, at most 1
    slope = torch.where(share == 0, 1.0, 2 * share / torch.sinh(2 * share))
    before = 0.0 if divisor == 1 else 1 + of_constant(divisor)
    ulps = TANH_ULPS[arithmetic]
    roundings = slope * (before + 1) + (1 - slope) * of_constant(cap) + 2 * ulps + 1
    lost = (TAU / 2) * ((divisor != 1) + cap * (1 + 2 * ulps) + 1)
    return total(exact.abs() * gamma(roundings), lost, raw)


def query_scaled(exact: torch.Tensor, factor: torch.Tensor) -> torch.Tensor:
    """Bound queries times a factor of their position. exact: includes the factor (positions, 1).

    The factor is computed in double and rounded once. A factor of 1 changes nothing.
    """
    moved = (factor != 1).double()
    return total(exact.abs() * gamma(moved * 2.0), moved * (TAU / 2))


def scaled_score(magnitudes: torch.Tensor, head_dim: int, scale: float) -> torch.Tensor:
    """Bound q . k * scale, which any arithmetic sums in order. magnitudes: |q| . |k| * scale."""
    growth = gamma(head_dim + 1 + of_constant(scale))
    # what the products lose by underflow is scaled with them
    lost = head_dim * (TAU / 2) * scale
    return total(growth * magnitudes, lost * (1 + growth) + TAU / 2)


def normalized(shares: torch.Tensor, of_shares: torch.Tensor, chosen: int) -> torch.Tensor:
    """Bound the shares of so many chosen experts divided by their sum.

    shares: exact, not yet divided, and of_shares: their bounds by bounds.of_one_power(); both 0 where not chosen.
    """
    sums, of_sums = shares.sum(-1, keepdim=True), of_shares.sum(-1, keepdim=True)
    # the sum's own roundings, one fewer than the shares it adds
    of_sums = of_sums + gamma(chosen - 1) * (sums + of_sums)
    exact = shares / sums
    moved = (of_shares + exact * of_sums) / (sums - of_sums)
    moved = torch.where(of_sums < sums, moved, torch.inf)
    return total(moved * (1 + UNIT) + exact * UNIT, TAU / 2)
