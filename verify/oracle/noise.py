"""Float32 rounding as random noise, to learn how far it may carry logits.

A rounding of a value y moves it by y * e with E[e^2] = 0.18 u^2, u = 2^-24: the error is uniform within half
a unit in the last place, and mantissas are spread log-uniformly, so E[e^2] = u^2 / 3 * 3 / (8 ln 2).

A sum of n products p_j, added one after the other, rounds each partial sum s_k. Given that the walk ends in
y, E[s_k^2] is a Brownian bridge's: k/n (1 - k/n) * sum p^2 + (k/n)^2 y^2; over all k that makes
n/6 * sum p^2 + n/3 * y^2 (and 1 * sum p^2 for the products' own roundings).
"""

from __future__ import annotations

import math

import torch

UNIT = 2.0**-24
ROUNDING_VARIANCE = 0.18 * UNIT**2


class Noise:
    """Perturbs float64 results as an engine that sums in index order would. scale 0 perturbs nothing."""

    def __init__(self, scale: float, seed: int = 0) -> None:
        self.scale = scale
        self._generator = torch.Generator().manual_seed(seed)

    def rounded(self, y: torch.Tensor, roundings: float = 1.0) -> torch.Tensor:
        """y after this many independent roundings of its own size."""
        return self.within(y, y, roundings)

    def within(self, y: torch.Tensor, size: torch.Tensor, roundings: float) -> torch.Tensor:
        """y after roundings of values of another size, broadcast over y."""
        if not self.scale:
            return y
        return y + self._normal(y) * size * math.sqrt(roundings)

    def product(self, y: torch.Tensor, a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
        """y = a @ b, each element a sum over the index in order."""
        if not self.scale:
            return y
        n = a.shape[-1]
        squares = a.square() @ b.square()
        return y + self._normal(y) * torch.sqrt((n / 6 + 1) * squares + n / 3 * y.square())

    def softmax(self, shares: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        """exp of a rounded difference, its own rounding, one common sum, one division."""
        if not self.scale:
            return shares
        depth = (scores.amax(dim=-1, keepdim=True) - scores).nan_to_num(posinf=0.0)
        own = self._normal(shares) * torch.sqrt(depth.square() + 2)
        common = self._normal(shares[..., :1]) * math.sqrt(shares.shape[-1] / 3)
        return shares * (1 + own + common)

    def angle(self, angle: torch.Tensor, head_dim: int, theta: float, roundings_of_ratio: int = 0) -> torch.Tensor:
        """RoPE's position * frequency: one rounding for each entry, and the frequency's own error, which is the
        same at every position: powf, a reciprocal, and the exponent 2j / head_dim, whose error as a float32 is
        known and grows by log(theta) in the power; and, where RoPE is scaled, the product with a ratio. The first
        pair's power is exactly 1."""
        if not self.scale:
            return angle
        exponent = torch.arange(angle.shape[1], dtype=angle.dtype) * 2 / head_dim
        of_exponent = math.log(theta) * (exponent.to(torch.float32).to(exponent.dtype) - exponent)
        roundings = 2 * (exponent > 0) + roundings_of_ratio
        sizes = torch.sqrt(roundings * ROUNDING_VARIANCE + of_exponent.square())
        of_frequency = self._signed(sizes)
        return angle * (1 + of_frequency + self._normal(angle))

    def by_constant(self, y: torch.Tensor, constant: float) -> torch.Tensor:
        """y scaled by a constant that an engine has in float32: its rounding moves all of y alike."""
        if not self.scale:
            return y
        rounded = torch.tensor(constant, dtype=torch.float32).item()
        return y * (1 + self._signed(torch.tensor(rounded / constant - 1, dtype=y.dtype)))

    def _signed(self, sizes: torch.Tensor) -> torch.Tensor:
        """Errors of these sizes and random sign. For the few that move every logit at once: a handful of draws
        tells their variance, which that many normal ones would not."""
        signs = torch.randint(0, 2, sizes.shape, generator=self._generator) * 2 - 1
        return signs * sizes * self.scale

    def _normal(self, like: torch.Tensor) -> torch.Tensor:
        # float32 draws are several times faster, and their own precision does not matter
        draws = torch.randn(like.shape, generator=self._generator, dtype=torch.float32)
        return draws.to(like.dtype).mul_(self.scale * math.sqrt(ROUNDING_VARIANCE))
