"""Model float32 rounding as random noise, to measure how far it may move logits.

A rounding of a value y moves it by y * e with E[e^2] = 0.18 u^2, u = 2^-24: the error is uniform within half a unit
in the last place, and mantissas are distributed log-uniformly, so E[e^2] = u^2 / 3 * 3 / (8 ln 2).

A sum of n products p_j that are added in order rounds each partial sum s_k. Given that the sum is y, E[s_k^2] is that
of a Brownian bridge: k/n (1 - k/n) * sum p^2 + (k/n)^2 y^2. Over all k this is n/6 * sum p^2 + n/3 * y^2, plus
1 * sum p^2 for the roundings of the products themselves.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch

UNIT = 2.0**-24
ROUNDING_VARIANCE = 0.18 * UNIT**2


# Normal numbers are drawn once and read from random places, because drawing takes longer than the products that the
# numbers disturb.
_POOL = 1 << 22
# Elements of a matrix that are squared at a time, and columns that stay together.
_BLOCK, _TOGETHER = 1 << 18, 64

# exp(-1000) is 0 in float64 too.
_NO_SHARE = 1000.0


def largest(logits: torch.Tensor, count: int) -> torch.Tensor:
    """Return the numbers of the `count` largest along the last axis, in ascending order; of equal ones, the lower."""
    order = torch.sort(logits, dim=-1, descending=True, stable=True).indices
    return order[..., :count].sort(dim=-1).values


class Noise:
    """Perturbs results as a float32 engine that sums in index order would.

    Tensors are (windows, ...) with (1 + draws) * clean windows: the first `clean` stay exact, and the others are
    noisy copies of them, draw after draw. So all draws go through the model together, and the size of each rounding
    is computed once, from the exact windows. With clean = 0 there is one draw of every window, whose noisy results
    have, to within 10^-5, the size of the exact ones. scale: enlarges the roundings, so that those of the passes
    themselves do not matter. Without draws nothing changes; otherwise results are changed in place.
    """

    def __init__(self, clean: int = 0, draws: int = 0, scale: float = 1.0, seed: int = 0) -> None:
        self.clean, self.draws, self.scale = clean, draws, scale
        self._generator = torch.Generator().manual_seed(seed)
        self._pool = torch.empty(0)

    def rounded(self, y: torch.Tensor, roundings: float = 1.0) -> torch.Tensor:
        """Perturb y by this many independent roundings of its own size."""
        return self.within(y, y, roundings)

    def within(self, y: torch.Tensor, size: torch.Tensor, roundings: float) -> torch.Tensor:
        """Perturb y by roundings of values of another size, which is broadcast over y."""
        if self.draws:
            self._add(y, self._exact(size) * math.sqrt(roundings))
        return y

    def product(self, y: torch.Tensor, a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
        """Perturb y = a @ b, whose elements are sums in index order. b is one matrix, or (windows, ...) matrices."""
        if self.draws:
            b = b if b.ndim == 2 else self._exact(b)
            self._add(y, self.of_product(self._exact(y), self._exact(a), b).sqrt_())
        return y

    def softmax(self, shares: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        """Perturb a softmax: exp of a rounded difference, its own rounding, one common sum, one division."""
        if self.draws:
            scores, size = self._exact(scores), self._exact(shares).clone()
            # a share this deep is 0, and so is that of a later position, whose depth is infinite
            depth = (scores.amax(dim=-1, keepdim=True) - scores).clamp_(max=_NO_SHARE)
            self._add(shares, depth.square_().add_(2).sqrt_().mul_(size))
            common = self._normal((self.draws, *size.shape[:-1], 1), shares.dtype)
            self._noisy(shares).addcmul_(common, size, value=math.sqrt(shares.shape[-1] / 3))
        return shares

    def of_experts(self, y: torch.Tensor, size: torch.Tensor) -> torch.Tensor:
        """Perturb what experts compute by one rounding of another size, of y's shape."""
        return self.within(y, size, roundings=1)

    def chosen(self, _layer: int, logits: torch.Tensor, count: int) -> torch.Tensor:
        """Return the numbers of the chosen experts, ascending (windows, ..., count). logits: of the router.

        The draws keep the choice of their exact window, because another choice is no rounding.
        """
        if not self.draws or not self.clean:
            return largest(logits, count)
        return largest(self._exact(logits), count).repeat(1 + self.draws, *(1,) * (logits.ndim - 1))

    def angle(
        self,
        angle: torch.Tensor,
        rotated: int,
        theta: float,
        roundings_of_ratio: int = 0,
        growth: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """Perturb RoPE's position * frequency (length, pairs); with draws (windows, length, pairs).

        rotated: how many elements of a head are rotated. Each entry has one rounding, and the error of its frequency,
        which is the same at every position: powf, a reciprocal, the exponent 2j / rotated, whose float32 error is
        known and grows by log(theta) in the power, and with a scaled RoPE the product with a ratio. The power of the
        first pair is exactly 1. growth: (pairs,), how many times larger the ratio has the frequency's own error, and
        those of the four roundings by which it is computed of it; None for a ratio that is a constant.
        """
        if not self.draws:
            return angle
        exponent = torch.arange(angle.shape[1], dtype=angle.dtype) * 2 / rotated
        of_exponent = math.log(theta) * (exponent.to(torch.float32).to(exponent.dtype) - exponent)
        of_power = 2 * (exponent > 0) * ROUNDING_VARIANCE + of_exponent.square()
        grown = torch.zeros_like(exponent) if growth is None else growth
        of_ratio = (roundings_of_ratio + 4 * grown.square()) * ROUNDING_VARIANCE
        sizes = torch.sqrt((1 + grown).square() * of_power + of_ratio)
        errors = self._signs(1, len(sizes)) * sizes + self._normal((self.draws, *angle.shape), angle.dtype)
        noisy = angle * (1 + errors)
        # one rotation serves all windows of a draw
        return torch.cat((angle.expand(self.clean, -1, -1), noisy.repeat_interleave(self.clean or 1, dim=0)))

    def by_constant(
        self, y: torch.Tensor, constant: float | torch.Tensor, moved: torch.Tensor | None = None
    ) -> torch.Tensor:
        """Perturb y, scaled by a constant that an engine has in float32: its rounding moves all of y by one factor.

        A tensor holds one constant for each place of y's last axes. moved: the derivative of y by the constant's
        logarithm, where that is not y itself.
        """
        if self.draws:
            wide = torch.as_tensor(constant, dtype=torch.float64)
            error = self._signs(*(1,) * y.ndim) * (wide.float().double() / wide - 1)
            if moved is None:
                self._noisy(y).mul_(1 + error.to(y.real.dtype))
            else:
                self._noisy(y).addcmul_(error.to(y.dtype), self._exact(moved))
        return y

    @staticmethod
    def of_product(y: torch.Tensor, a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
        """Return the variance of y = a @ b, summed in index order, in units of ROUNDING_VARIANCE."""
        n = a.shape[-1]
        return (n / 6 + 1) * _squares(a, b) + n / 3 * y.square()

    def _noisy(self, y: torch.Tensor) -> torch.Tensor:
        """View the noisy windows as (draws, windows, ...)."""
        noisy: torch.Tensor = y[self.clean :].unflatten(0, (self.draws, -1))
        return noisy

    def _exact(self, y: torch.Tensor) -> torch.Tensor:
        """View the windows from which sizes are computed."""
        return y[: self.clean] if self.clean else y

    def _add(self, y: torch.Tensor, size: torch.Tensor) -> None:
        noisy = self._noisy(y)
        noisy.addcmul_(self._normal(noisy.shape, y.dtype), size)

    def _signs(self, *shape: int) -> torch.Tensor:
        """Draw random signs times scale, (draws, *shape), for the few errors that move every logit at once.

        A few random signs have the exact variance; that few normal numbers would not.
        """
        return (torch.randint(0, 2, (self.draws, *shape), generator=self._generator) * 2 - 1) * self.scale

    def _normal(self, shape: Sequence[int], dtype: torch.dtype) -> torch.Tensor:
        if not len(self._pool):
            pool = torch.randn(_POOL, generator=self._generator)
            self._pool = pool.mul_(self.scale * math.sqrt(ROUNDING_VARIANCE))
        count = math.prod(shape)
        if count > len(self._pool) // 2:
            self._pool = self._pool.repeat(1 + 2 * count // len(self._pool))
        start = int(torch.randint(len(self._pool) - count, (), generator=self._generator))
        return self._pool[start : start + count].view(*shape).to(dtype)


def _squares(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    """Estimate a^2 @ b^2, exactly if b is not one matrix.

    For a matrix, each row of `a` counts as its length times the mean shape of all rows: one product of a vector
    instead of one as large as a @ b. On healthy models the noise of logits has the same size either way.
    """
    wide = a.square()
    if b.ndim > 2:
        return wide @ b.square()
    lengths = wide.sum(dim=-1, keepdim=True)
    shape = wide.flatten(0, -2).sum(dim=0)
    total = shape.sum()
    of_shape = _times_squares(shape, b).div_(total) if total > 0 else torch.zeros(b.shape[1], dtype=b.dtype)
    return lengths * of_shape


def _times_squares(row: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    """Return row @ b^2, by columns whose squares fit into a core's cache."""
    made = torch.empty(b.shape[1], dtype=b.dtype)
    # whole vectors of the processor, or the last columns of a block would be added in another order
    step = max(_TOGETHER, _BLOCK // len(b) // _TOGETHER * _TOGETHER)
    for first in range(0, len(made), step):
        part = slice(first, first + step)
        torch.mv(b[:, part].square().T, row, out=made[part])
    return made
