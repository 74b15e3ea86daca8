"""Count the multiplications of a pass, which say how far it is and predict it.

The unit is that of verify.system.pulse.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

# Work for each multiplication of the C reader by one arithmetic, with float and with int8 activations.
READER = {"fp32": 1.4, "q8": 1.3}


class Layer(Protocol):
    """What a source and a file state of one layer."""

    @property
    def experts(self) -> bool: ...


class Dimensions(Protocol):
    """The sizes of a model, as a source and as a file state them."""

    @property
    def dim(self) -> int: ...
    @property
    def hidden_dim(self) -> int: ...
    @property
    def n_experts(self) -> int: ...
    @property
    def n_active_experts(self) -> int: ...
    @property
    def expert_hidden_dim(self) -> int: ...
    @property
    def layers(self) -> Sequence[Layer]: ...
    @property
    def n_layers(self) -> int: ...
    @property
    def n_heads(self) -> int: ...
    @property
    def n_kv_heads(self) -> int: ...
    @property
    def head_dim(self) -> int: ...
    @property
    def vocab_size(self) -> int: ...


def of_layer(model: Dimensions, windows: int, length: int, *, experts: bool = False) -> float:
    """Return the multiplications of one layer. experts: it has some, of which only the chosen ones multiply."""
    q_dim, kv_dim = model.n_heads * model.head_dim, model.n_kv_heads * model.head_dim
    chosen = model.n_experts + 3 * model.n_active_experts * model.expert_hidden_dim
    matrices = model.dim * (2 * q_dim + 2 * kv_dim + (chosen if experts else 3 * model.hidden_dim))
    return float(windows * length * (matrices + 2 * length * q_dim))


def of_head(model: Dimensions, windows: int, length: int) -> float:
    """Return the multiplications of the classifier."""
    return float(windows * length * model.dim * model.vocab_size)


def of_pass(model: Dimensions, windows: int, length: int) -> float:
    """Return the multiplications of a whole pass."""
    sparse = sum(layer.experts for layer in model.layers)
    with_experts = sparse * of_layer(model, windows, length, experts=True)
    others = (model.n_layers - sparse) * of_layer(model, windows, length)
    return with_experts + others + of_head(model, windows, length)


def of_reader(model: Dimensions, length: int, activations: str) -> float:
    """Return the work of a pass of the C reader over one window."""
    return READER[activations] * of_pass(model, 1, length)
