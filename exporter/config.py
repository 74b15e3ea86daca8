"""ModelConfig: the hyper-parameters that decide a Llama's logits, and the tensors they imply."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace

from exporter.errors import CheckpointError
from exporter.experts import check_experts, expert_shapes
from exporter.number_checks import check_count, check_positive
from exporter.rope_scaling import RopeScaling
from exporter.strict_json import shown
from exporter.switches import OPTIONAL_COUNTS, OPTIONAL_FACTORS, SWITCHES, LayerKind, check_switches

_UNSCALED = RopeScaling()
ACTIVATIONS = ("silu", "gelu", "gelu_tanh")


@dataclass(frozen=True)
class ModelConfig:
    """A Llama, or a model that differs from it by switches. It validates itself: it can always be computed.

    Attributes:
        dim, hidden_dim, n_layers, n_heads, n_kv_heads, vocab_size, max_seq_len: the model's shape.
        tied: whether the classifier is the token embedding.
        norm_eps: of the norms; compared as float32 wherever it is compared.
        rope_theta, rope_scaling: of RoPE.
        head_dim: dim / n_heads where it is not given.
        qkv_bias, wo_bias, mlp_bias: which matrices have a bias.
        activation: of the gate, "silu", "gelu" (erf) or "gelu_tanh".
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
        n_experts, n_active_experts, expert_hidden_dim: of layers with a mixture of experts, how many there are, how
            many a token goes through, and their width; 0 without such a layer. hidden_dim is of the other layers.
        experts_normalized: the shares of a token's experts are divided by their sum.
        layers: a LayerKind for each layer; empty if every layer sees all positions and uses the first RoPE.

    Raises:
        CheckpointError: a field is out of range, or the fields contradict each other.
    """

    dim: int
    hidden_dim: int
    n_layers: int
    n_heads: int
    n_kv_heads: int
    vocab_size: int
    max_seq_len: int
    tied: bool
    norm_eps: float = 1e-5
    rope_theta: float = 10000.0
    head_dim: int = 0
    rope_scaling: RopeScaling = _UNSCALED
    qkv_bias: bool = False
    wo_bias: bool = False
    mlp_bias: bool = False
    activation: str = "silu"
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
    n_experts: int = 0
    n_active_experts: int = 0
    expert_hidden_dim: int = 0
    experts_normalized: bool = False
    layers: tuple[LayerKind, ...] = ()

    def __post_init__(self) -> None:
        self._check_fields()
        self._check_shape()
        check_switches(self)
        check_experts(self)
        # one form for one model: all of a head and plain layers are what the empty values say
        if self.rotary_dim == self.head_dim:
            object.__setattr__(self, "rotary_dim", 0)
        if all(layer == LayerKind() for layer in self.layers):
            object.__setattr__(self, "layers", ())
        self._check_scaling()

    def _check_fields(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if field.name in OPTIONAL_COUNTS + OPTIONAL_FACTORS and value == 0 and not isinstance(value, bool):
                continue
            if field.type == "int":
                check_count(field.name, value)
            elif field.type == "float":
                check_positive(field.name, value)
            elif field.type == "bool" and not isinstance(value, bool):
                raise CheckpointError(f"{field.name}: expected true or false, found {shown(value)}")

    def _check_shape(self) -> None:
        if self.head_dim == 0:
            if self.dim % self.n_heads:
                raise CheckpointError(f"n_heads: expected a divisor of dim = {self.dim}, found {self.n_heads}")
            object.__setattr__(self, "head_dim", self.dim // self.n_heads)
            if self.head_dim % 2:
                raise CheckpointError(f"dim / n_heads: expected an even number, found {self.head_dim}")
        check_count("head_dim", self.head_dim)
        if self.head_dim % 2:
            raise CheckpointError(f"head_dim: expected an even number, found {self.head_dim}")
        if self.n_heads % self.n_kv_heads:
            raise CheckpointError(
                f"n_kv_heads: expected a divisor of n_heads = {self.n_heads}, found {self.n_kv_heads}"
            )
        if self.n_heads * self.head_dim >= 2**31:
            raise CheckpointError(
                f"n_heads * head_dim: expected at most {2**31 - 1}, found {self.n_heads * self.head_dim}"
            )
        if self.activation not in ACTIVATIONS:
            raise CheckpointError(f"activation: expected one of {', '.join(ACTIVATIONS)}, found {self.activation!r}")

    def _check_scaling(self) -> None:
        scaling = self.rope_scaling
        if scaling.type == "yarn" and self.rope_theta == 1:
            raise CheckpointError("rope_theta: expected other than 1, whose logarithm yarn divides by, found 1")
        original = scaling.original_max_positions
        if scaling.type == "dynamic" and self.max_seq_len > original:
            raise CheckpointError(
                f"max_seq_len: expected at most {original}, beyond which dynamic RoPE "
                f"scaling changes every earlier position, found {self.max_seq_len}"
            )
        if scaling.type == "longrope":
            if len(scaling.short_factors) != self.rotated // 2:
                raise CheckpointError(
                    f"rope_scaling: short_factors: expected {self.rotated // 2}, one for each rotated pair, "
                    f"found {len(scaling.short_factors)}"
                )
            if self.max_seq_len > original:
                raise CheckpointError(
                    f"max_seq_len: expected at most {original}, beyond which longrope changes every earlier "
                    f"position, found {self.max_seq_len}: --max-seq-len {original} (max_seq_len= in Python) cuts the "
                    "model to it"
                )

    @property
    def rotated(self) -> int:
        """Return how many elements of each head RoPE rotates."""
        return self.rotary_dim or self.head_dim

    def layer(self, number: int) -> LayerKind:
        """Say how a layer differs from a Llama's.

        Args:
            number: of the layer, from 0.

        Returns:
            Its kind, which is the default one where all layers are alike.

        Raises:
            IndexError: layers differ, and there are fewer of them.
        """
        return self.layers[number] if self.layers else LayerKind()

    @property
    def q_dim(self) -> int:
        """Return the width of all query heads together."""
        return self.head_dim * self.n_heads

    @property
    def kv_dim(self) -> int:
        """Return the width of all kv heads together."""
        return self.head_dim * self.n_kv_heads


# What Llama does, by switch.
SWITCH_DEFAULTS: dict[str, object] = {
    field.name: field.default for field in fields(ModelConfig) if field.name in SWITCHES
}


def without_idle_window(config: ModelConfig) -> ModelConfig:
    """Return a model without its window where that hides nothing, because it is as long as the model."""
    if config.window < config.max_seq_len:
        return config
    layers = tuple(replace(layer, windowed=False) for layer in config.layers)
    return replace(config, window=0, layers=layers)


def tensor_shapes(config: ModelConfig) -> dict[str, tuple[int, ...]]:
    """Canonical name -> shape (out_features, in_features) of every tensor that the config implies, exactly, in the
    order in which a forward pass meets them."""
    c = config
    shapes: dict[str, tuple[int, ...]] = {"tok_embeddings.weight": (c.vocab_size, c.dim)}

    def matrix(name: str, rows: int, cols: int, *, bias: bool) -> None:
        shapes[f"{name}.weight"] = (rows, cols)
        if bias:
            shapes[f"{name}.bias"] = (rows,)

    for layer in range(c.n_layers):
        p = f"layers.{layer}."
        if c.norm_place != "after":
            shapes[f"{p}attention_norm.weight"] = (c.dim,)
        matrix(f"{p}attention.wq", c.q_dim, c.dim, bias=c.qkv_bias)
        matrix(f"{p}attention.wk", c.kv_dim, c.dim, bias=c.qkv_bias)
        matrix(f"{p}attention.wv", c.kv_dim, c.dim, bias=c.qkv_bias)
        if c.qk_norm != "none":
            whole = c.qk_norm == "whole"
            shapes[f"{p}attention.q_norm.weight"] = (c.q_dim if whole else c.head_dim,)
            shapes[f"{p}attention.k_norm.weight"] = (c.kv_dim if whole else c.head_dim,)
        matrix(f"{p}attention.wo", c.dim, c.q_dim, bias=c.wo_bias)
        if c.norm_place != "before":
            shapes[f"{p}attention_post_norm.weight"] = (c.dim,)
        if c.norm_place != "after":
            shapes[f"{p}ffn_norm.weight"] = (c.dim,)
        if c.layer(layer).experts:
            shapes |= {f"{p}{name}": shape for name, shape in expert_shapes(c).items()}
        else:
            matrix(f"{p}feed_forward.w1", c.hidden_dim, c.dim, bias=c.mlp_bias)
            matrix(f"{p}feed_forward.w2", c.dim, c.hidden_dim, bias=c.mlp_bias)
            matrix(f"{p}feed_forward.w3", c.hidden_dim, c.dim, bias=c.mlp_bias)
        if c.norm_place != "before":
            shapes[f"{p}ffn_post_norm.weight"] = (c.dim,)
    shapes["norm.weight"] = (c.dim,)
    if not c.tied:
        shapes["output.weight"] = (c.vocab_size, c.dim)
    return shapes
