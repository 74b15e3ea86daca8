"""Bound how far each operation of the C engine may be from the exact result of its own inputs.

docs/error-bounds.md derives each formula. All tensors are float64, shapes broadcast, and a bound holds at every order
of magnitude down to the subnormal numbers. An input that is NaN or infinite gives a bound that is NaN or infinite,
and nothing is within it (`utilisation`). An overflow on the way has no bound: it shows as a violation.

A bound limits |float32 result - float64 result|, so it includes the verifier's own rounding.
"""

from __future__ import annotations

import math

import torch

from reader_c import Arithmetic
from verify.oracle.expected import SMALLEST_NORMAL, UNIT, rounding_bound
from verify.sources import Hyperparameters

TAU = 2.0**-149  # the smallest subnormal float32; rounding below 2^-126 moves a value by TAU / 2 at most
LANES = 16  # lanes of `fast`, which four more additions reduce to one

# Errors of the C library's functions in units in the last place; one such unit is at most a relative 2u. They hold
# for glibc 2.28 and newer on x86_64 and aarch64, whose tests (sysdeps/*/libm-test-ulps) record 1 for expf, powf, cosf
# and sinf. For erfcf they record 3 and 2, but only for the arguments that they try: over all 2^32 arguments glibc
# 2.36 on x86_64 reaches 3.13.
LIBM_ULPS = 1
ERFC_ULPS = 4

# From here on, e^-x may be infinite in float32, whose largest number has a logarithm of 88.7228.
_EXP_OVERFLOWS = -88.72
# Beyond these, e^-x and erfc(x) are far below TAU / 2, and float32 gives 0 or TAU.
_EXP_VANISHES, _ERFC_VANISHES = 200.0, 20.0

_LARGEST_EXACT = 2**24  # integers up to here are float32 numbers
_LARGEST_PRODUCT = 128 * 127  # of two int8, since activations are never -128

# Covers the errors of the float64 results themselves, all below 2^-22 of a bound, and the few later roundings of the
# terms in TAU.
_SLACK = 1 + 2.0**-20


def gamma(roundings: float | torch.Tensor) -> torch.Tensor:
    """Return k u / (1 - k u): the largest relative error of k factors, or reciprocals of factors, within 1 +- u.

    k may be fractional above 1, for roots. The result also bounds a factor e^(k u). It is infinite from k u = 1 on.
    """
    share = torch.as_tensor(roundings, dtype=torch.float64) * UNIT
    return torch.where(share >= 1, torch.inf, share / (1 - share))


def utilisation(error: torch.Tensor, bound: torch.Tensor) -> torch.Tensor:
    """Return error / bound elementwise: 0 without an error, infinite if either is NaN or the bound is infinite."""
    share = torch.where(error == 0, 0.0, error / bound)
    return torch.where(torch.isfinite(bound) & ~share.isnan(), share, torch.inf)


def total(relative: torch.Tensor, absolute: torch.Tensor | float, *inputs: torch.Tensor) -> torch.Tensor:
    """Return the sum of both, and NaN where one of the inputs is not finite."""
    bound = (relative + absolute).mul_(_SLACK)
    for one in inputs:
        bound = bound + one * 0
    return bound


# ---- sums of products ----


def _depth(terms: int | torch.Tensor, arithmetic: Arithmetic) -> float | torch.Tensor:
    """Return the largest number of roundings between one of `terms` products and their sum."""
    return terms if arithmetic == "mirror" else -(-terms // LANES) + math.log2(LANES)


def product(
    magnitudes: torch.Tensor, terms: int | torch.Tensor, arithmetic: Arithmetic, after: int = 0
) -> torch.Tensor:
    """Bound a dot product of `terms` products.

    magnitudes: the sum of their magnitudes, |W| @ |x|. after: later roundings of the sum.
    """
    growth = gamma(_depth(terms, arithmetic) + after)
    # an integer tensor times a number would be float32, where TAU / 2 is 0
    lost = torch.as_tensor(terms, dtype=torch.float64) * (TAU / 2)
    return total(growth * magnitudes, lost * (1 + growth))


def biased(of_product: torch.Tensor, exact: torch.Tensor) -> torch.Tensor:
    """Bound a product within of_product to which a bias is added. exact: includes the bias."""
    return total(of_product * (1 + UNIT) + UNIT * exact.abs(), 0.0)


def score(magnitudes: torch.Tensor, head_dim: int) -> torch.Tensor:
    """Bound q . k / sqrt(head_dim), which any arithmetic sums in order. magnitudes: |q| . |k| / sqrt(head_dim)."""
    return product(magnitudes, head_dim, "mirror", after=2) + TAU


def mixture(magnitudes: torch.Tensor, positions: int | torch.Tensor) -> torch.Tensor:
    """Bound attention's output, which any arithmetic sums in order. magnitudes: shares @ |values|."""
    return product(magnitudes, positions, "mirror")


def rotation(magnitudes: torch.Tensor) -> torch.Tensor:
    """Bound a c - b s or a s + b c of recorded cosines and sines. magnitudes: |a c| + |b s|, |a s| + |b c|."""
    return product(magnitudes, 2, "mirror")


# ---- int8 activations ----


def activation_scale(peak: torch.Tensor) -> torch.Tensor:
    """Bound a group's scale, whose exact value is peak / 127. peak: the group's largest magnitude."""
    return total(UNIT * peak / 127, TAU / 2)


def activation_step(scale: torch.Tensor) -> torch.Tensor:
    """Bound |q * scale - x| for each activation. scale: as recorded, of the activation's group.

    It is half a step, as for a weight. A subnormal scale may be so far below peak / 127 that int8 does not reach the
    peak, by 127 halves of TAU.
    """
    coarse = torch.maximum(scale * (0.5 + 192 * UNIT), torch.full_like(scale, 127 * TAU / 2))
    return total(torch.where(scale >= SMALLEST_NORMAL, rounding_bound(scale), coarse), 0.0)


def quantized_product(magnitudes: torch.Tensor, groups: int, group_size: int) -> torch.Tensor:
    """Bound a dot product of int8 weights and int8 activations.

    magnitudes: the sum over groups of the magnitude of the int32 sum times both scales.
    """
    convert = group_size * _LARGEST_PRODUCT > _LARGEST_EXACT
    growth = gamma(groups + 1 + convert)
    return total(growth * magnitudes, groups * (TAU / 2) * (1 + growth))


# ---- functions of a row ----


def rms_norm(
    exact: torch.Tensor,
    weight: torch.Tensor,
    mean_square: torch.Tensor,
    eps: float,
    dim: int,
    *,
    plus_one: bool = False,
) -> torch.Tensor:
    """Bound RMSNorm of rows of dim numbers. mean_square: of each row, without eps. eps: as float32.

    weight: the exact factor. plus_one: an engine computes it as 1 + w, which rounds once.
    """
    underflow = TAU / (mean_square + eps) / UNIT
    relative = exact.abs() * gamma(dim / 2 + 5 + plus_one + underflow)
    return total(relative, (weight.abs() + 1) * (TAU / 2), mean_square, weight)


def softmax(
    shares: torch.Tensor, scores: torch.Tensor, seen: int | torch.Tensor, counts: torch.Tensor | None = None
) -> torch.Tensor:
    """Bound softmax over `seen` elements of the last axis. shares: exact, and 0 for all other elements.

    seen broadcasts against the last axis of shares: as a tensor it ends in an axis of length 1. counts: which
    elements are seen; the first ones if it is not given.
    """
    counts = torch.arange(scores.shape[-1]) < seen if counts is None else counts
    top = torch.where(counts, scores, -torch.inf).amax(dim=-1, keepdim=True)
    depth = torch.where(counts, top - scores, 0.0).clamp(max=_EXP_VANISHES)
    of_sum = (shares * gamma(depth + 2 * LIBM_ULPS)).sum(dim=-1, keepdim=True)
    relative = shares * gamma(depth + 2 * LIBM_ULPS + seen + of_sum / UNIT)
    poison = torch.where(counts, scores, 0.0).sum(dim=-1, keepdim=True)
    return total(relative, (LIBM_ULPS + 1) * TAU, poison)


def of_one_power(shares: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
    """Bound shares of a softmax, but for the errors of the sum that divides all of them.

    shares: exact (..., numbers), of scores. A ratio of two shares has no other errors.
    """
    depth = (scores.amax(dim=-1, keepdim=True) - scores).clamp(max=_EXP_VANISHES)
    # twice, because the common factor may be above 1
    return total(shares * gamma(depth + 2 * LIBM_ULPS + 1), 2 * (LIBM_ULPS + 1) * TAU, scores)


# ---- gates ----


def gated(exact: torch.Tensor, gate: torch.Tensor, up: torch.Tensor, activation: str) -> torch.Tensor:
    """Bound activation(gate) * up. activation: silu, gelu or gelu_tanh.

    exact must be computed without cancellation: gate * sigmoid(..) * up, or gate / 2 * erfc(..) * up.
    """
    if activation == "gelu":
        return _gelu(exact, gate, up)
    if activation == "silu":
        return _sigmoid_gated(exact, gate, up, gate, 0.0)
    cubic = 0.044715 * gate.square()
    inner = 2 * math.sqrt(2 / math.pi) * gate * (1 + cubic)
    # x plus its cube, which takes three products and a constant; then another constant and a product
    return _sigmoid_gated(exact, gate, up, inner, 3 + 4 * cubic / (1 + cubic))


def _sigmoid_gated(
    exact: torch.Tensor, gate: torch.Tensor, up: torch.Tensor, inner: torch.Tensor, roundings: torch.Tensor | float
) -> torch.Tensor:
    """Bound gate * sigmoid(inner) * up, where inner has so many roundings."""
    limited = inner.clamp(-_EXP_VANISHES, _EXP_VANISHES)
    of_exponential = gamma(2 * LIBM_ULPS + limited.abs() * gamma(roundings) / UNIT)
    relative = exact.abs() * gamma(torch.sigmoid(-limited) * of_exponential / UNIT + 4)
    # where e^-inner overflows, the engine's gate is 0
    relative = torch.where(inner <= _EXP_OVERFLOWS, exact.abs(), relative)
    # gate times sigmoid, or up times sigmoid, may be subnormal before the last product
    underflow = ((gate * up).abs() + up.abs() + gate.abs() + 1) * (TAU / 2)
    return total(relative, underflow, gate, up)


def _gelu(exact: torch.Tensor, gate: torch.Tensor, up: torch.Tensor) -> torch.Tensor:
    """Bound gate / 2 * erfc(-gate / sqrt(2)) * up, where the argument has two roundings."""
    argument = (-gate * math.sqrt(0.5)).clamp(-_ERFC_VANISHES, _ERFC_VANISHES)
    shift = argument.abs() * gamma(2)
    # -d/dt log erfc(t) = 2 / sqrt(pi) / erfcx(t), which grows with t
    steepness = 2 / math.sqrt(math.pi) / torch.special.erfcx(argument + shift)
    relative = exact.abs() * gamma(2 * ERFC_ULPS + 2 + shift * steepness / UNIT)
    underflow = ((gate * up).abs() * ERFC_ULPS + 3 * up.abs() + 1) * (TAU / 2)
    return total(relative, underflow, gate, up)


# ---- RoPE ----


def rope_frequency(exact: torch.Tensor, hyper: Hyperparameters) -> torch.Tensor:
    """Bound the angle by which each pair rotates from one position to the next. exact: (rotary_dim / 2,)."""
    half = hyper.rotated // 2
    exponent = torch.arange(half, dtype=torch.float64) / half
    theta = torch.tensor(hyper.rope_theta, dtype=torch.float64)
    # the error of the power itself, of the rounded theta, of the rounded exponent, and of a reciprocal
    of_theta = exponent * ((theta.float() - theta) / theta).abs() / UNIT
    of_exponent = 0.0 if half & (half - 1) == 0 else exponent * theta.log().abs()
    roundings = torch.where(exponent > 0, 2 * LIBM_ULPS + 1 + of_theta + of_exponent, 0.0)
    if hyper.rope_scaling.type in ("linear", "llama3", "yarn", "longrope"):
        roundings = roundings + 2  # the product with a ratio, and the ratio's own double arithmetic
    # the power of the first pair is 1, which none of these changes
    return total(exact * gamma(roundings), torch.where(roundings > 0, TAU, 0.0))


def rope_angle(frequency: torch.Tensor, positions: torch.Tensor, of_frequency: torch.Tensor | float) -> torch.Tensor:
    """Bound position * frequency: (positions, rotary_dim / 2).

    frequency: (rotary_dim / 2,), exact, with the bound of_frequency of the engine's own; or the engine's own, with 0.
    positions: (positions, 1), up to 2^24.
    """
    # a position times 1 is not rounded
    of_product = torch.where(frequency == 1, 0.0, UNIT * positions * frequency + TAU / 2)
    return total(positions * of_frequency * (1 + UNIT), of_product)


def rope_table(exact: torch.Tensor, of_angle: torch.Tensor, factor: float = 1.0) -> torch.Tensor:
    """Bound cosines or sines times an attention factor. exact: includes it, which an engine rounds to float32."""
    roundings = 2 * LIBM_ULPS + (2 if factor != 1 else 0)
    growth = gamma(roundings)
    return total(exact.abs() * growth + factor * of_angle * (1 + growth), (factor * LIBM_ULPS + 1) * TAU)
