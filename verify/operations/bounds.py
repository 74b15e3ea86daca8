"""How far each operation of the C engine may lie from the exact result of its own inputs.

docs/error-bounds.md derives each formula. All tensors are float64, shapes broadcast, and a bound holds for every
order of magnitude down to the subnormal numbers. Of an input that is NaN or infinite comes a bound that is NaN or
infinite; nothing lies within it (`utilisation`). An overflow on the way has no bound: it shows as a violation.

What is bounded is |float32 result - float64 result|: the verifier's own rounding is part of each bound.
"""

from __future__ import annotations

import math

import torch

from reader_c import Arithmetic
from verify.oracle.expected import SMALLEST_NORMAL, UNIT, rounding_bound
from verify.sources import Hyperparameters

TAU = 2.0**-149  # the smallest subnormal float32; rounding below 2^-126 moves a value by TAU / 2 at most
LANES = 16  # index lanes of `fast`, which four more additions fold into one

# Units in the last place by which the C library's functions may err; one such unit is at most a relative 2u.
# glibc 2.28 and newer, x86_64 and aarch64. Its tests (sysdeps/*/libm-test-ulps) record 1 for expf, powf, cosf and
# sinf on both. For erfcf they record 3 and 2, but that is what they came upon: over all 2^32 arguments glibc 2.36
# on x86_64 reaches 3.13.
LIBM_ULPS = 1
ERFC_ULPS = 4

# From here on, e^-x may be infinite in float32, whose largest number has a logarithm of 88.7228.
_EXP_OVERFLOWS = -88.72
# e^-x and erfc(x) of more than these are far below TAU / 2 and come out as 0, or as TAU
_EXP_VANISHES, _ERFC_VANISHES = 200.0, 20.0

_LARGEST_EXACT = 2**24  # integers up to here are float32 numbers
_LARGEST_PRODUCT = 128 * 127  # of two int8, of which activations never are -128

# Covers the float64 results' own errors, all below 2^-22 of a bound, and the few roundings that the terms in TAU
# go through afterwards.
_SLACK = 1 + 2.0**-20


def gamma(roundings: float | torch.Tensor) -> torch.Tensor:
    """k u / (1 - k u): the largest relative error of k factors, or reciprocals of factors, within 1 +- u.

    k may be fractional above 1, for roots. A factor e^(k u) lies within it too. Infinite from k u = 1 on.
    """
    share = torch.as_tensor(roundings, dtype=torch.float64) * UNIT
    return torch.where(share >= 1, torch.inf, share / (1 - share))


def utilisation(error: torch.Tensor, bound: torch.Tensor) -> torch.Tensor:
    """error / bound, elementwise: 0 where there is no error, infinite where either is NaN or the bound infinite."""
    share = torch.where(error == 0, 0.0, error / bound)
    return torch.where(torch.isfinite(bound) & ~share.isnan(), share, torch.inf)


def _total(relative: torch.Tensor, absolute: torch.Tensor | float, *inputs: torch.Tensor) -> torch.Tensor:
    """The sum of both, NaN where one of inputs is not finite."""
    bound = (relative + absolute) * _SLACK
    for one in inputs:
        bound = bound + one * 0
    return bound


# ---- sums of products ----


def _depth(terms: int | torch.Tensor, arithmetic: Arithmetic) -> float | torch.Tensor:
    """Roundings that the unluckiest of `terms` products goes through on its way into the sum."""
    return terms if arithmetic == "mirror" else -(-terms // LANES) + math.log2(LANES)


def product(
    magnitudes: torch.Tensor, terms: int | torch.Tensor, arithmetic: Arithmetic, after: int = 0
) -> torch.Tensor:
    """A dot product of `terms` products. magnitudes: the sum of their magnitudes, |W| @ |x|. after: roundings of
    the sum that follow."""
    growth = gamma(_depth(terms, arithmetic) + after)
    # a tensor of integers times a number would be float32, in which TAU / 2 is 0
    lost = torch.as_tensor(terms, dtype=torch.float64) * (TAU / 2)
    return _total(growth * magnitudes, lost * (1 + growth))


def biased(of_product: torch.Tensor, exact: torch.Tensor) -> torch.Tensor:
    """A bias added to a product that lies within of_product. exact: with the bias."""
    return _total(of_product * (1 + UNIT) + UNIT * exact.abs(), 0.0)


def score(magnitudes: torch.Tensor, head_dim: int) -> torch.Tensor:
    """q . k / sqrt(head_dim), a sum in order whatever the arithmetic. magnitudes: |q| . |k| / sqrt(head_dim)."""
    return product(magnitudes, head_dim, "mirror", after=2) + TAU


def mixture(magnitudes: torch.Tensor, positions: int | torch.Tensor) -> torch.Tensor:
    """Attention's output, a sum over positions in order whatever the arithmetic. magnitudes: shares @ |values|."""
    return product(magnitudes, positions, "mirror")


def rotation(magnitudes: torch.Tensor) -> torch.Tensor:
    """a c - b s or a s + b c of recorded cosines and sines. magnitudes: |a c| + |b s|, |a s| + |b c|."""
    return product(magnitudes, 2, "mirror")


# ---- int8 activations ----


def activation_scale(peak: torch.Tensor) -> torch.Tensor:
    """Of a group's scale, whose exact value is peak / 127. peak: the group's largest magnitude."""
    return _total(UNIT * peak / 127, TAU / 2)


def activation_step(scale: torch.Tensor) -> torch.Tensor:
    """|q * scale - x| of each activation. scale: as recorded, of the activation's group.

    Half a step, as for a weight. A subnormal scale may lie so far below peak / 127 that int8 stops short of
    the peak, by 127 halves of TAU.
    """
    coarse = torch.maximum(scale * (0.5 + 192 * UNIT), torch.full_like(scale, 127 * TAU / 2))
    return _total(torch.where(scale >= SMALLEST_NORMAL, rounding_bound(scale), coarse), 0.0)


def quantized_product(magnitudes: torch.Tensor, groups: int, group_size: int) -> torch.Tensor:
    """A dot product of int8 weights and int8 activations. magnitudes: the sum over groups of the magnitude of
    their int32 sum times both scales."""
    convert = group_size * _LARGEST_PRODUCT > _LARGEST_EXACT
    growth = gamma(groups + 1 + convert)
    return _total(growth * magnitudes, groups * (TAU / 2) * (1 + growth))


# ---- functions of a row ----


def rms_norm(
    exact: torch.Tensor, weight: torch.Tensor, mean_square: torch.Tensor, eps: float, dim: int
) -> torch.Tensor:
    """RMSNorm of rows of dim numbers. mean_square: of each row, without eps; eps: as float32."""
    underflow = TAU / (mean_square + eps) / UNIT
    return _total(exact.abs() * gamma(dim / 2 + 5 + underflow), (weight.abs() + 1) * (TAU / 2), mean_square, weight)


def softmax(shares: torch.Tensor, scores: torch.Tensor, seen: int | torch.Tensor) -> torch.Tensor:
    """Softmax over the last axis, of which the first `seen` elements count. shares: exact, 0 behind those.

    seen broadcasts against shares' last axis: a tensor of it ends in an axis of length 1.
    """
    counts = torch.arange(scores.shape[-1]) < seen
    top = torch.where(counts, scores, -torch.inf).amax(dim=-1, keepdim=True)
    depth = torch.where(counts, top - scores, 0.0).clamp(max=_EXP_VANISHES)
    of_sum = (shares * gamma(depth + 2 * LIBM_ULPS)).sum(dim=-1, keepdim=True)
    relative = shares * gamma(depth + 2 * LIBM_ULPS + seen + of_sum / UNIT)
    poison = torch.where(counts, scores, 0.0).sum(dim=-1, keepdim=True)
    return _total(relative, (LIBM_ULPS + 1) * TAU, poison)


# ---- gates ----


def gated(exact: torch.Tensor, gate: torch.Tensor, up: torch.Tensor, activation: str) -> torch.Tensor:
    """activation(gate) * up. activation: silu, gelu or gelu_tanh.

    exact must come of a form that does not cancel: gate * sigmoid(..) * up, or gate / 2 * erfc(..) * up.
    """
    if activation == "gelu":
        return _gelu(exact, gate, up)
    if activation == "silu":
        return _sigmoid_gated(exact, gate, up, gate, 0.0)
    cubic = 0.044715 * gate.square()
    inner = 2 * math.sqrt(2 / math.pi) * gate * (1 + cubic)
    # x, and its cube with three products and a constant, added; then another constant and a product
    return _sigmoid_gated(exact, gate, up, inner, 3 + 4 * cubic / (1 + cubic))


def _sigmoid_gated(
    exact: torch.Tensor, gate: torch.Tensor, up: torch.Tensor, inner: torch.Tensor, roundings: torch.Tensor | float
) -> torch.Tensor:
    """gate * sigmoid(inner) * up, where inner has gone through so many roundings."""
    limited = inner.clamp(-_EXP_VANISHES, _EXP_VANISHES)
    of_exponential = gamma(2 * LIBM_ULPS + limited.abs() * gamma(roundings) / UNIT)
    relative = exact.abs() * gamma(torch.sigmoid(-limited) * of_exponential / UNIT + 4)
    # where e^-inner overflows, the gate is closed altogether
    relative = torch.where(inner <= _EXP_OVERFLOWS, exact.abs(), relative)
    underflow = ((gate * up).abs() + up.abs() + 1) * (TAU / 2)
    return _total(relative, underflow, gate, up)


def _gelu(exact: torch.Tensor, gate: torch.Tensor, up: torch.Tensor) -> torch.Tensor:
    """gate / 2 * erfc(-gate / sqrt(2)) * up, where the argument has gone through two roundings."""
    argument = (-gate * math.sqrt(0.5)).clamp(-_ERFC_VANISHES, _ERFC_VANISHES)
    shift = argument.abs() * gamma(2)
    # -d/dt log erfc(t) = 2 / sqrt(pi) / erfcx(t), which grows with t
    steepness = 2 / math.sqrt(math.pi) / torch.special.erfcx(argument + shift)
    relative = exact.abs() * gamma(2 * ERFC_ULPS + 2 + shift * steepness / UNIT)
    underflow = ((gate * up).abs() * ERFC_ULPS + 3 * up.abs() + 1) * (TAU / 2)
    return _total(relative, underflow, gate, up)


# ---- RoPE ----


def rope_frequency(exact: torch.Tensor, model: Hyperparameters) -> torch.Tensor:
    """Of the angle by which each pair turns from one position to the next. exact: (head_dim / 2,)."""
    half = model.head_dim // 2
    exponent = torch.arange(half, dtype=torch.float64) / half
    theta = torch.tensor(model.rope_theta, dtype=torch.float64)
    # of the power: its own error, that of a rounded theta and that of a rounded exponent; and a reciprocal
    of_theta = exponent * ((theta.float() - theta) / theta).abs() / UNIT
    of_exponent = 0.0 if half & (half - 1) == 0 else exponent * theta.log().abs()
    roundings = torch.where(exponent > 0, 2 * LIBM_ULPS + 1 + of_theta + of_exponent, 0.0)
    if model.rope_scaling.type in ("linear", "llama3", "yarn"):
        roundings = roundings + 2  # the product with a ratio, and what that ratio's own double arithmetic costs
    # the first pair's power is 1, which all of these leave alone
    return _total(exact * gamma(roundings), torch.where(roundings > 0, TAU, 0.0))


def rope_angle(frequency: torch.Tensor, positions: torch.Tensor, of_frequency: torch.Tensor | float) -> torch.Tensor:
    """Of position * frequency: (positions, head_dim / 2).

    frequency: exact, (head_dim / 2,), which the engine's own lies within of_frequency of; or the engine's own, and
    0. positions: (positions, 1), up to 2^24.
    """
    # a position times 1 is not rounded
    of_product = torch.where(frequency == 1, 0.0, UNIT * positions * frequency + TAU / 2)
    return _total(positions * of_frequency * (1 + UNIT), of_product)


def rope_table(exact: torch.Tensor, of_angle: torch.Tensor, factor: float = 1.0) -> torch.Tensor:
    """Of cosines or sines, times yarn's factor. exact: with the factor, which an engine rounds to float32."""
    roundings = 2 * LIBM_ULPS + (2 if factor != 1 else 0)
    growth = gamma(roundings)
    return _total(exact.abs() * growth + factor * of_angle * (1 + growth), (factor * LIBM_ULPS + 1) * TAU)
