"""Count the roundings of float32 operations, one operation at a time: a second derivation of verify's error bounds.

It shares nothing with verify/operations/bounds.py, which has closed formulas.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

U, TAU = 2.0**-24, 2.0**-149
SLACK = 1 + 2.0**-20  # for the verifier's own float64
LIBM, ERFC = 1, 4  # units in the last place by which the C library may err


def gamma(units: float) -> float:
    """How far a product of so many factors 1 +- u may be from 1."""
    return units * U / (1 - units * U)


@dataclass(frozen=True)
class Rounded:
    """An exact value, and by how many units u its float32 counterpart may differ from it, relatively."""

    value: float
    units: float = 0.0

    def times(self, other: Rounded) -> Rounded:
        return Rounded(self.value * other.value, self.units + other.units + 1)

    def over(self, other: Rounded) -> Rounded:
        return Rounded(self.value / other.value, self.units + other.units + 1)

    def plus(self, other: Rounded) -> Rounded:
        """Both have one sign, so each error counts by its share."""
        total = self.value + other.value
        return Rounded(total, (self.value * self.units + other.value * other.units) / total + 1)

    def root(self) -> Rounded:
        return Rounded(math.sqrt(self.value), self.units / 2 + 1)

    def halved(self) -> Rounded:
        return Rounded(self.value / 2, self.units)

    def exponential(self) -> Rounded:
        return Rounded(math.exp(self.value), abs(self.value) * self.units + 2 * LIBM)

    def to_the(self, exponent: Rounded) -> Rounded:
        """powf: an error of the base counts as often as the exponent says, one of the exponent by the logarithm."""
        logarithm = abs(exponent.value * math.log(self.value))
        units = exponent.value * self.units + logarithm * exponent.units + 2 * LIBM
        return Rounded(self.value**exponent.value, units)

    def erfc(self) -> Rounded:
        """The slope of the logarithm is taken from two values beside each other."""
        step = 1e-5 * max(1.0, abs(self.value))
        above, below = math.erfc(self.value + step), math.erfc(self.value - step)
        steepness = abs(math.log(above / below)) / (2 * step)
        return Rounded(math.erfc(self.value), abs(self.value) * self.units * steepness + 2 * ERFC)


def constant(value: float) -> Rounded:
    """A number that the engine rounds to float32."""
    return Rounded(value, 1)


def largest_units_of_a_sum(terms: int, lanes: int) -> int:
    """Products pass through the additions of their lane, and then through those that make one lane of all.

    lanes: 1 for a sum in index order, whose products are rounded; 16 for fused steps.
    """
    passed = [0] * lanes
    first = [0] * lanes  # units of the term that entered its lane first
    for term in range(terms):
        lane = term % lanes
        if passed[lane] == 0:
            first[lane] = 1  # its product, or its fused step onto 0
        else:
            first[lane] += 1
        passed[lane] += 1
    return max(first) + round(math.log2(lanes))


def rms_norm(first: float, others: float, count: int, weight: float, eps: float) -> Rounded:
    """Of the first number of a row whose others are small."""
    total = Rounded(first).times(Rounded(first))
    for _ in range(count - 1):
        total = total.plus(Rounded(others).times(Rounded(others)))
    scale = Rounded(1.0).over(total.over(Rounded(float(count))).plus(Rounded(eps)).root())
    return Rounded(weight).times(Rounded(first).times(scale))


def gated(gate: float, up: float, activation: str) -> Rounded:
    x, one = Rounded(gate), Rounded(1.0)
    if activation == "gelu":
        inner = Rounded(-gate).times(constant(math.sqrt(0.5))).erfc()
        return x.halved().times(inner).times(Rounded(up))
    inner = x
    if activation == "gelu_tanh":
        cube = constant(0.044715).times(x).times(x).times(x)
        inner = constant(2 * math.sqrt(2 / math.pi)).times(x.plus(cube))
    power = Rounded(-inner.value, inner.units).exponential()
    return x.times(one.over(one.plus(power))).times(Rounded(up))
