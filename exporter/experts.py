"""Mixtures of experts: which layers have one, with which tensors, and which values contradict each other."""

from __future__ import annotations

from typing import Protocol

from exporter.errors import CheckpointError
from exporter.switches import LayerKind

# More would exceed v3's limit on tensors.
MOST_EXPERTS = 2**16 - 1
ROUTER = "feed_forward.router.weight"


class Mixed(Protocol):
    """The fields of a ModelConfig that a mixture of experts consists of."""

    @property
    def dim(self) -> int: ...
    @property
    def hidden_dim(self) -> int: ...
    @property
    def n_layers(self) -> int: ...
    @property
    def n_experts(self) -> int: ...
    @property
    def n_active_experts(self) -> int: ...
    @property
    def expert_hidden_dim(self) -> int: ...
    @property
    def experts_normalized(self) -> bool: ...
    @property
    def mlp_bias(self) -> bool: ...
    @property
    def layers(self) -> tuple[LayerKind, ...]: ...


def check_experts(config: Mixed) -> None:
    """Raise CheckpointError where the numbers of experts contradict each other or the layers."""
    used = any(layer.experts for layer in config.layers)
    if not used:
        for field in ("n_experts", "n_active_experts", "expert_hidden_dim"):
            if getattr(config, field):
                raise CheckpointError(
                    f"{field}: expected 0 without a layer with experts, found {getattr(config, field)}"
                )
        if config.experts_normalized:
            raise CheckpointError("experts_normalized: expected false without a layer with experts, found true")
        return
    for field, least, most in (
        ("n_experts", 2, MOST_EXPERTS),
        ("n_active_experts", 1, config.n_experts),
        ("expert_hidden_dim", 1, 2**31 - 1),
    ):
        if not least <= getattr(config, field) <= most:
            raise CheckpointError(
                f"{field}: expected {least} to {most} beside a layer with experts, found {getattr(config, field)}"
            )
    if config.mlp_bias:
        raise CheckpointError("mlp_bias: expected false beside experts, which have no biases, found true")
    if all(layer.experts for layer in config.layers) and config.hidden_dim != config.expert_hidden_dim:
        raise CheckpointError(
            f"hidden_dim: expected expert_hidden_dim = {config.expert_hidden_dim}, since every layer has experts, "
            f"found {config.hidden_dim}"
        )


def expert_shapes(config: Mixed) -> dict[str, tuple[int, ...]]:
    """Return the shape of each tensor of a layer's mixture, by its name within the layer, in v3's order."""
    shapes: dict[str, tuple[int, ...]] = {ROUTER: (config.n_experts, config.dim)}
    for expert in range(config.n_experts):
        for matrix in ("w1", "w2", "w3"):
            down = matrix == "w2"
            wide = (config.dim, config.expert_hidden_dim) if down else (config.expert_hidden_dim, config.dim)
            shapes[f"feed_forward.experts.{expert}.{matrix}.weight"] = wide
    return shapes


def is_router(name: str) -> bool:
    """Return whether a tensor of this canonical name is a router."""
    return name.endswith(f".{ROUTER}")


def expert_matrix(name: str) -> tuple[str, str] | None:
    """Return what a tensor of one expert shares with those of the layer's other experts: its layer and its matrix.

    None for any other tensor.
    """
    before, marker, after = name.partition(".feed_forward.experts.")
    return (before, after.partition(".")[2]) if marker else None
