"""Count the multiplications of a pass, which say how far it is and predict it.

The unit is that of verify.system.pulse.
"""

from __future__ import annotations

from typing import Protocol

# Work for each multiplication of the C reader by one arithmetic, with float and with int8 activations.
READER = {"fp32": 1.4, "q8": 1.3}


class Dimensions(Protocol):
    """The sizes of a model, as a source and as a file state them."""

    @property
    def dim(self) -> int: ...
    @property
    def hidden_dim(self) -> int: ...
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


def of_layer(model: Dimensions, windows: int, length: int) -> float:
    """Return the multiplications of one layer."""
    q_dim, kv_dim = model.n_heads * model.head_dim, model.n_kv_heads * model.head_dim
    matrices = model.dim * (2 * q_dim + 2 * kv_dim + 3 * model.hidden_dim)
    return float(windows * length * (matrices + 2 * length * q_dim))


def of_head(model: Dimensions, windows: int, length: int) -> float:
    """Return the multiplications of the classifier."""
    return float(windows * length * model.dim * model.vocab_size)


def of_pass(model: Dimensions, windows: int, length: int) -> float:
    """Return the multiplications of a whole pass."""
    return model.n_layers * of_layer(model, windows, length) + of_head(model, windows, length)


def of_reader(model: Dimensions, length: int, activations: str) -> float:
    """Return the work of a pass of the C reader over one window."""
    return READER[activations] * of_pass(model, 1, length)
