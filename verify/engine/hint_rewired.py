"""Rewire a layer of the reference: let its operations continue with results that an engine takes by mistake."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import torch

from verify.engine.hint_reference import Load, RunLayer
from verify.oracle import llama
from verify.oracle.attention import rms_norm
from verify.oracle.rounding_noise import Noise
from verify.sources import Hyperparameters


@dataclass
class LayerSoFar:
    """Holds what one layer has computed so far, with the mistake in it.

    x: the stream before the layer. load, rotations, inputs: as the layer has them. made: the results of its
    operations by name. before: those of the layer before, none in the first layer.
    """

    hyper: Hyperparameters
    load: Load
    number: int
    x: torch.Tensor
    rotations: dict[str, torch.Tensor]
    inputs: llama.Inputs = llama.unrounded
    made: dict[str, torch.Tensor] = field(default_factory=dict)
    before: dict[str, torch.Tensor] = field(default_factory=dict)

    @property
    def middle(self) -> torch.Tensor:
        """Return the stream between attention and feed forward."""
        return self.made["attention_residual"]

    def norm_weight(self, block: str) -> torch.Tensor:
        """Return the weights of the norm before a block, attention or ffn."""
        return self.load(f"layers.{self.number}.{block}_norm.weight").to(self.x.dtype)

    def normed(self, x: torch.Tensor, block: str) -> torch.Tensor:
        """Apply the norm of a block to x."""
        return rms_norm(x, self.norm_weight(block), self.hyper, Noise())

    def product(self, x: torch.Tensor, matrix: str, layer: int | None = None) -> torch.Tensor:
        """Multiply x by a matrix of this layer, such as attention.wq, or of another one."""
        name = f"layers.{self.number if layer is None else layer}.{matrix}"
        y = self.inputs(x, f"{name}.weight") @ self.load(f"{name}.weight").to(x.dtype).T
        biased = f"layers.{self.number}.{matrix}.bias" in self.hyper.shapes()
        return y + self.load(f"{name}.bias").to(x.dtype) if biased else y


# (operation, its right result, what the layer has) -> the result to continue with
Rewire = Callable[[str, torch.Tensor, LayerSoFar], torch.Tensor]


def rewired(change: Rewire, layer: int | None = None) -> RunLayer:
    """Compute a layer with other results; layer: the only one in which that is so."""
    last: dict[str, torch.Tensor] = {}

    def run(
        hyper: Hyperparameters,
        load: Load,
        number: int,
        x: torch.Tensor,
        rotations: dict[str, torch.Tensor],
        noise: Noise,
        watch: llama.Watch,
        inputs: llama.Inputs,
    ) -> torch.Tensor:
        seen = LayerSoFar(hyper, load, number, x, rotations, inputs, before=dict(last) if number else {})

        def rewire(operation: str, y: torch.Tensor) -> torch.Tensor:
            right = watch(operation, y)
            seen.made[operation] = change(operation, right, seen) if layer in (None, number) else right
            return seen.made[operation]

        made = llama.layer(hyper, load, number, x, rotations, noise, rewire, inputs)
        last.clear()
        last.update(seen.made)
        return made

    return run
