"""Compute a mixture of experts in the reference: the router, the choice of experts, and the sum of what they give.

Everything that an expert computes stands in slots: slot s of a position belongs to the s-th of its chosen experts, in
ascending number.
"""

from __future__ import annotations

from collections.abc import Callable

import torch

from verify.oracle.attention import Load, Watch
from verify.oracle.rounding_noise import Noise
from verify.sources import Hyperparameters

# (the input of a product, the name of its matrix) -> what the product reads
Inputs = Callable[[torch.Tensor, str], torch.Tensor]
# (gate, up) -> activation(gate) * up
Activated = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]


def mixture(
    hyper: Hyperparameters,
    number: int,
    h: torch.Tensor,
    load: Load,
    inputs: Inputs,
    activated: Activated,
    noise: Noise,
    watch: Watch,
) -> torch.Tensor:
    """Compute what the experts of layer `number` make of h (windows, length, dim).

    load returns tensors by their whole names; inputs as in llama.logits().
    """
    prefix = f"layers.{number}.feed_forward."

    def matrix(name: str) -> torch.Tensor:
        return load(name).to(h.dtype)

    name = f"{prefix}router.weight"
    weights = matrix(name).T
    logits = watch("router", noise.product(inputs(h, name) @ weights, h, weights))
    chosen = noise.chosen(number, logits, hyper.n_active_experts)
    shares = watch("routed", routed(hyper, logits, chosen, noise))
    slots = _Slots(prefix, chosen, matrix, inputs, noise)
    width = hyper.expert_hidden_dim
    gate = watch("expert_gate", slots.product(h, "w1", width, shared=True))
    up = watch("expert_up", slots.product(h, "w3", width, shared=True))
    gated = watch("expert_gated", activated(gate, up))
    down = watch("expert_down", slots.product(gated, "w2", hyper.dim, shared=False))
    parts = down.unflatten(-1, (hyper.n_active_experts, -1)) * shares.gather(-1, chosen).unsqueeze(-1)
    return watch("down", _summed(parts, noise))


def routed(hyper: Hyperparameters, logits: torch.Tensor, chosen: torch.Tensor, noise: Noise) -> torch.Tensor:
    """Return the share of each expert (windows, length, n_experts), 0 for those that are not chosen."""
    shares = noise.softmax(torch.softmax(logits, dim=-1), logits)
    taken = shares.gather(-1, chosen)
    if hyper.experts_normalized:
        # each partial sum rounds, and the division
        taken = noise.rounded(taken / taken.sum(-1, keepdim=True), roundings=hyper.n_active_experts / 3 + 1)
    return torch.zeros_like(shares).scatter(-1, chosen, taken)


def _summed(parts: torch.Tensor, noise: Noise) -> torch.Tensor:
    """Add (windows, length, slots, dim) over the slots, in their order."""
    y = parts.sum(-2)
    if not noise.draws:
        return y
    n = parts.shape[-2]
    variance = (n / 6 + 1) * parts.square().sum(-2) + n / 3 * y.square()
    return noise.of_experts(y, variance.sqrt())


class _Slots:
    """Multiplies by the matrices of the chosen experts (windows, length, slots)."""

    def __init__(self, prefix: str, chosen: torch.Tensor, matrix: Load, inputs: Inputs, noise: Noise) -> None:
        self._prefix, self._chosen, self._matrix = prefix, chosen, matrix
        self._inputs, self._noise = inputs, noise

    def product(self, x: torch.Tensor, which: str, rows: int, *, shared: bool) -> torch.Tensor:
        """Return (windows, length, slots * rows). x: (windows, length, columns), which every slot reads if it is
        shared; else (windows, length, slots * columns)."""
        # a file stores a matrix of all experts alike
        read = self._inputs(x, f"{self._prefix}experts.0.{which}.weight")
        slots = 1 if shared else self._chosen.shape[-1]
        read = read.unflatten(-1, (slots, -1)).expand(*self._chosen.shape, -1)
        y = x.new_empty(*self._chosen.shape, rows)
        sizes = torch.empty_like(y) if self._noise.draws else y
        for expert in self._chosen.unique().tolist():
            weights = self._matrix(f"{self._prefix}experts.{expert}.{which}.weight").T
            at = self._chosen == expert
            mine = read[at]
            y[at] = made = mine @ weights
            if self._noise.draws:
                sizes[at] = Noise.of_product(made, mine, weights).sqrt_()
        return (self._noise.of_experts(y, sizes) if self._noise.draws else y).flatten(-2)
