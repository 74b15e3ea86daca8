"""The switches by which today's models differ from Llama: their values, and which values contradict each other.

At its default, a switch says what Llama does. docs/format-v3.md says what each one computes.
"""

from __future__ import annotations

from dataclasses import dataclass

from exporter.errors import CheckpointError

NORM_PLACES = ("before", "after", "both")
QK_NORMS = ("none", "head", "whole")
LAYER_ROPES = ("none", "first", "second")

# What Llama does, under the names of ModelConfig's fields.
SWITCH_DEFAULTS: dict[str, object] = {
    "norm_place": "before",
    "norm_plus_one": False,
    "qk_norm": "none",
    "rotary_dim": 0,
    "window": 0,
    "query_scale_beta": 0.0,
    "embedding_scale": 1.0,
    "score_scale": 0.0,
    "residual_scale": 1.0,
    "logit_divisor": 1.0,
    "score_cap": 0.0,
    "logit_cap": 0.0,
    "local_theta": 0.0,
    "layers": (),
}

# Counts and factors that may be zero, which stands for "the model has none".
OPTIONAL_COUNTS = ("head_dim", "rotary_dim", "window", "query_scale_positions")
OPTIONAL_FACTORS = ("score_scale", "score_cap", "logit_cap", "query_scale_beta", "local_theta")


@dataclass(frozen=True)
class LayerKind:
    """How one layer attends.

    Attributes:
        windowed: whether it sees only the last `window` positions.
        rope: "none", "first" (rope_theta with its scaling) or "second" (local_theta).
    """

    windowed: bool = False
    rope: str = "first"


def described(value: object) -> str:
    """Return a switch's value as messages show it."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float):
        return f"{value:.9g}"
    if isinstance(value, tuple):
        return f"{len(value)} layers of several kinds" if value else "layers of one kind"
    return str(value)


@dataclass(frozen=True, kw_only=True)
class Switches:
    """The part of a model's config that says how the model differs from Llama.

    Attributes:
        norm_place: norms stand "before" attention and feed forward, "after" them, or "both".
        norm_plus_one: norms multiply by 1 + weight instead of weight.
        qk_norm: queries and keys have no norm ("none"), one per "head", or one over the "whole" projection.
        rotary_dim: how many elements of a head RoPE rotates; 0 for all of them.
        window: positions that a windowed layer sees, its own included; 0 without one.
        query_scale_beta, query_scale_positions: queries at position p are multiplied by
            1 + beta * ln(1 + floor(p / positions)); 0 for none.
        embedding_scale, residual_scale: factors of embeddings, and of what each block adds; 1 for none.
        score_scale: factor of attention's scores; 0 for 1 / sqrt(head_dim).
        logit_divisor: logits are divided by it; 1 for none.
        score_cap, logit_cap: scores and logits become cap * tanh(x / cap); 0 for none.
        local_theta: theta of the second RoPE, which no scaling applies to; 0 without one.
        layers: a LayerKind for each layer; empty if every layer sees all positions and uses the first RoPE.
    """

    norm_place: str = "before"
    norm_plus_one: bool = False
    qk_norm: str = "none"
    rotary_dim: int = 0
    window: int = 0
    query_scale_positions: int = 0
    embedding_scale: float = 1.0
    score_scale: float = 0.0
    residual_scale: float = 1.0
    logit_divisor: float = 1.0
    score_cap: float = 0.0
    logit_cap: float = 0.0
    query_scale_beta: float = 0.0
    local_theta: float = 0.0
    layers: tuple[LayerKind, ...] = ()

    def layer(self, number: int) -> LayerKind:
        """Return how a layer attends."""
        return self.layers[number] if self.layers else LayerKind()

    def check_switches(self, head_dim: int, n_layers: int) -> None:
        """Raise CheckpointError for a switch with an unknown value, and for switches that contradict each other."""
        for field, known in (("norm_place", NORM_PLACES), ("qk_norm", QK_NORMS)):
            value = getattr(self, field)
            if value not in known:
                raise CheckpointError(f"{field}: expected one of {', '.join(known)}, found {value!r}")
        if self.rotary_dim % 2 or self.rotary_dim > head_dim:
            raise CheckpointError(
                f"rotary_dim: expected an even number up to head_dim = {head_dim}, found {self.rotary_dim}"
            )
        if self.layers and len(self.layers) != n_layers:
            raise CheckpointError(f"layers: expected {n_layers}, one for each layer, found {len(self.layers)}")
        for number, layer in enumerate(self.layers):
            if layer.rope not in LAYER_ROPES:
                raise CheckpointError(
                    f"layers: {number}: expected one of {', '.join(LAYER_ROPES)} as rope, found {layer.rope!r}"
                )
        self._check_pairs()

    def _check_pairs(self) -> None:
        """Raise CheckpointError where a value is there without its use, or a use without its value."""
        windowed = any(layer.windowed for layer in self.layers)
        second = any(layer.rope == "second" for layer in self.layers)
        pairs = (
            ("window", self.window, "a windowed layer", windowed),
            ("local_theta", self.local_theta, "a layer with it", second),
            ("query_scale_positions", self.query_scale_positions, "query_scale_beta", bool(self.query_scale_beta)),
        )
        for field, value, use, used in pairs:
            if value and not used:
                raise CheckpointError(f"{field}: expected 0 without {use}, found {value:g}")
            if used and not value:
                raise CheckpointError(f"{field}: expected more than 0 beside {use}, found 0")
