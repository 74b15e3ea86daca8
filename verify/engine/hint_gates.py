"""List mistakes with the gate of a feed forward: its activation, and how it meets up (w3)."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace

import torch

from verify.diagnosis import engine_mistakes as m
from verify.engine.hint_reference import Load, MakeWatch, MistakenReference
from verify.oracle import llama
from verify.oracle.rounding_noise import Noise
from verify.sources import Hyperparameters

Activation = Callable[[torch.Tensor], torch.Tensor]
# (gate, up), before the activation -> what the last product reads
Combine = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]

# Activations that no format has, by name.
_ACTIVATIONS: dict[str, Activation] = {
    "relu": torch.relu,
    "quick gelu": lambda x: x * torch.sigmoid(1.702 * x),
    "sigmoid": torch.sigmoid,
    "no activation": lambda x: x,
    "leaky relu": lambda x: torch.nn.functional.leaky_relu(x, 0.01),
    "elu": torch.nn.functional.elu,
    "hard-swish": torch.nn.functional.hardswish,
    "mish": torch.nn.functional.mish,
    "softplus": torch.nn.functional.softplus,
    "relu squared": lambda x: torch.relu(x).square(),
    "tanh": torch.tanh,
    "x * sigmoid(-x)": lambda x: x * torch.sigmoid(-x),
}


def of_gates(hyper: Hyperparameters, load: Load) -> Iterator[MistakenReference]:
    """Yield the mistakes."""
    for activation in m.ACTIVATION.words:
        if activation != hyper.activation:
            sentence = m.ACTIVATION.of_engine(found=activation, expected=hyper.activation)
            yield MistakenReference(m.ACTIVATION, sentence, replace(hyper, activation=activation), load)
    for name, function in _ACTIVATIONS.items():
        sentence = m.ACTIVATION.of_engine(found=name, expected=hyper.activation)
        yield MistakenReference(m.ACTIVATION, sentence, hyper, load, _gated(_times_up(function)))
    for what, combine in _combinations(hyper).items():
        yield MistakenReference(m.GATE_AND_UP, m.GATE_AND_UP.of_engine(what=what), hyper, load, _gated(combine))


def _combinations(hyper: Hyperparameters) -> dict[str, Combine]:
    """Return wrong ways to combine gate and up, by what an engine then does."""

    def activated(gate: torch.Tensor) -> torch.Tensor:
        return llama.activated(gate, torch.ones_like(gate), hyper.activation, Noise())

    return {
        "does not multiply the activation by up (w3)": lambda gate, _up: activated(gate),
        "adds up (w3) to the activation instead of multiplying by it": lambda gate, up: activated(gate) + up,
        "activates the product of gate (w1) and up (w3) instead of gate": lambda gate, up: activated(gate * up),
        "activates up (w3) and omits gate (w1)": lambda _gate, up: activated(up),
        "activates both gate (w1) and up (w3)": lambda gate, up: activated(gate) * activated(up),
    }


def _times_up(function: Activation) -> Combine:
    return lambda gate, up: function(gate) * up


def _gated(combine: Combine) -> MakeWatch:
    def make(_hyper: Hyperparameters, _rotation: torch.Tensor | None) -> llama.Watch:
        seen: dict[str, torch.Tensor] = {}

        def watch(operation: str, y: torch.Tensor) -> torch.Tensor:
            name = operation.removeprefix("expert_")
            if name in ("gate", "up"):
                seen[name] = y
            return combine(seen["gate"], seen["up"]) if name == "gated" else y

        return watch

    return make
