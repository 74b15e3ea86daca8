"""ModelConfig: the hyper-parameters that decide a Llama's logits, and the tensors they imply."""

from __future__ import annotations

from dataclasses import dataclass, fields

from exporter.errors import CheckpointError


@dataclass(frozen=True)
class ModelConfig:
    """A Llama. Validates itself: an instance is always one that can be computed.

    tied: the classifier is the token embedding. norm_eps is compared as float32 wherever it is compared.
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

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if field.type == "int":
                if isinstance(value, bool) or not isinstance(value, int):
                    raise CheckpointError(f"{field.name}: expected an integer, found {value!r}")
                if not 1 <= value < 2**31:
                    raise CheckpointError(f"{field.name}: expected 1 to {2**31 - 1}, found {value}")
            elif field.type == "float":
                if isinstance(value, bool) or not isinstance(value, (int, float)):
                    raise CheckpointError(f"{field.name}: expected a number, found {value!r}")
                if not 0 < value < float("inf"):
                    raise CheckpointError(f"{field.name}: expected a positive finite number, found {value}")
        if self.dim % self.n_heads:
            raise CheckpointError(f"n_heads: expected a divisor of dim = {self.dim}, found {self.n_heads}")
        if self.head_dim % 2:
            raise CheckpointError(f"dim / n_heads: expected an even number, found {self.head_dim}")
        if self.n_heads % self.n_kv_heads:
            raise CheckpointError(
                f"n_kv_heads: expected a divisor of n_heads = {self.n_heads}, found {self.n_kv_heads}"
            )

    @property
    def head_dim(self) -> int:
        return self.dim // self.n_heads

    @property
    def kv_dim(self) -> int:
        return self.head_dim * self.n_kv_heads


def tensor_shapes(config: ModelConfig) -> dict[str, tuple[int, ...]]:
    """Canonical name -> shape (out_features, in_features) of every tensor that the config implies, exactly."""
    c = config
    shapes: dict[str, tuple[int, ...]] = {"tok_embeddings.weight": (c.vocab_size, c.dim)}
    for layer in range(c.n_layers):
        shapes |= {
            f"layers.{layer}.attention_norm.weight": (c.dim,),
            f"layers.{layer}.attention.wq.weight": (c.dim, c.dim),
            f"layers.{layer}.attention.wk.weight": (c.kv_dim, c.dim),
            f"layers.{layer}.attention.wv.weight": (c.kv_dim, c.dim),
            f"layers.{layer}.attention.wo.weight": (c.dim, c.dim),
            f"layers.{layer}.ffn_norm.weight": (c.dim,),
            f"layers.{layer}.feed_forward.w1.weight": (c.hidden_dim, c.dim),
            f"layers.{layer}.feed_forward.w2.weight": (c.dim, c.hidden_dim),
            f"layers.{layer}.feed_forward.w3.weight": (c.hidden_dim, c.dim),
        }
    shapes["norm.weight"] = (c.dim,)
    if not c.tied:
        shapes["output.weight"] = (c.vocab_size, c.dim)
    return shapes
