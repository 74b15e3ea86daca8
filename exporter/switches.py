"""The switches by which today's models differ from Llama: their values, and which values contradict each other.

At its default, a switch says what Llama does. docs/format-v3.md says what each one computes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from exporter.errors import CheckpointError

NORM_PLACES = ("before", "after", "both")
QK_NORMS = ("none", "head", "whole")
LAYER_ROPES = ("none", "first", "second")

# The fields of ModelConfig whose default says what Llama does.
SWITCHES = (
    *("norm_place", "norm_plus_one", "qk_norm", "rotary_dim", "window", "query_scale_beta"),
    *("embedding_scale", "score_scale", "residual_scale", "logit_divisor", "score_cap", "logit_cap"),
    *("local_theta", "n_experts", "layers"),
)

# Counts and factors that may be zero, which stands for "the model has none".
OPTIONAL_COUNTS = (
    *("head_dim", "rotary_dim", "window", "query_scale_positions"),
    *("n_experts", "n_active_experts", "expert_hidden_dim"),
)
OPTIONAL_FACTORS = ("score_scale", "score_cap", "logit_cap", "query_scale_beta", "local_theta")


@dataclass(frozen=True)
class LayerKind:
    """How one layer differs from a Llama's.

    Attributes:
        windowed: whether it sees only the last `window` positions.
        rope: "none", "first" (rope_theta with its scaling) or "second" (local_theta).
        experts: whether its feed forward is a mixture of experts.
    """

    windowed: bool = False
    rope: str = "first"
    experts: bool = False


class Switched(Protocol):
    """The fields of a ModelConfig that contradict each other if anything does."""

    @property
    def n_layers(self) -> int: ...
    @property
    def head_dim(self) -> int: ...
    @property
    def rotary_dim(self) -> int: ...
    @property
    def window(self) -> int: ...
    @property
    def local_theta(self) -> float: ...
    @property
    def query_scale_beta(self) -> float: ...
    @property
    def query_scale_positions(self) -> int: ...
    @property
    def layers(self) -> tuple[LayerKind, ...]: ...


def described(value: object) -> str:
    """Return a switch's value as messages show it."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float):
        return f"{value:.9g}"
    if isinstance(value, tuple):
        return f"{len(value)} layers of several kinds" if value else "layers of one kind"
    return str(value)


def check_switches(config: Switched) -> None:
    """Raise CheckpointError for a switch with an unknown value, and for switches that contradict each other."""
    for field, known in (("norm_place", NORM_PLACES), ("qk_norm", QK_NORMS)):
        value = getattr(config, field)
        if value not in known:
            raise CheckpointError(f"{field}: expected one of {', '.join(known)}, found {value!r}")
    if config.rotary_dim % 2 or config.rotary_dim > config.head_dim:
        raise CheckpointError(
            f"rotary_dim: expected an even number up to head_dim = {config.head_dim}, found {config.rotary_dim}"
        )
    if config.layers and len(config.layers) != config.n_layers:
        raise CheckpointError(f"layers: expected {config.n_layers}, one for each layer, found {len(config.layers)}")
    for number, layer in enumerate(config.layers):
        if layer.rope not in LAYER_ROPES:
            raise CheckpointError(
                f"layers: {number}: expected one of {', '.join(LAYER_ROPES)} as rope, found {layer.rope!r}"
            )
    _check_pairs(config)


def _check_pairs(config: Switched) -> None:
    """Raise CheckpointError where a value is there without its use, or a use without its value."""
    pairs = (
        ("window", config.window, "a windowed layer", any(layer.windowed for layer in config.layers)),
        (
            "local_theta",
            config.local_theta,
            "a layer with it",
            any(layer.rope == "second" for layer in config.layers),
        ),
        ("query_scale_positions", config.query_scale_positions, "query_scale_beta", bool(config.query_scale_beta)),
    )
    for field, value, use, used in pairs:
        if value and not used:
            raise CheckpointError(f"{field}: expected 0 without {use}, found {value:g}")
        if used and not value:
            raise CheckpointError(f"{field}: expected more than 0 beside {use}, found 0")
