"""Defines what the verifier knows of a source, whatever its kind."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from pathlib import Path

import torch

_NORMS = ("attention_norm.weight", "ffn_norm.weight")
_POST_NORMS = ("attention_post_norm.weight", "ffn_post_norm.weight")


@dataclass(frozen=True)
class RopeScaling:
    """Parameters of RoPE's frequencies beyond theta; those that `type` does not have are zero.

    short_factors: of longrope, a float32 number for each pair. long_factors: what a Hugging Face source has for
    sequences longer than any file of it, with which only a mistaken engine computes.
    """

    type: str = "none"  # none, linear, dynamic, llama3, yarn, longrope
    factor: float = 0.0
    original_max_positions: int = 0
    low_freq_factor: float = 0.0
    high_freq_factor: float = 0.0
    beta_fast: float = 0.0
    beta_slow: float = 0.0
    attention_factor: float = 0.0
    truncate: bool = False
    short_factors: tuple[float, ...] = ()
    long_factors: tuple[float, ...] = field(default=(), compare=False)


@dataclass(frozen=True)
class LayerKind:
    """How one layer attends: to the last `window` positions only or to all, and with which RoPE.

    experts: its feed forward is a mixture of experts.
    """

    windowed: bool = False
    rope: str = "first"  # none, first, second
    experts: bool = False


@dataclass(frozen=True)
class Hyperparameters:
    """Everything that decides a model's logits besides its weights.

    activation: silu, gelu or gelu_tanh. The fields from norm_place on are the switches by which models differ from
    Llama; their defaults are Llama's, and docs/format-v3.md says what each computes. rotary_dim 0 stands for all of
    head_dim, and empty layers stand for layers that see everything and use the first RoPE. Where every layer has
    experts, hidden_dim is expert_hidden_dim.
    """

    dim: int
    hidden_dim: int
    n_layers: int
    n_heads: int
    n_kv_heads: int
    head_dim: int
    vocab_size: int
    max_seq_len: int
    tied: bool
    norm_eps: float
    rope_theta: float
    rope_scaling: RopeScaling = RopeScaling()
    qkv_bias: bool = False
    wo_bias: bool = False
    mlp_bias: bool = False
    activation: str = "silu"
    norm_place: str = "before"  # before, after, both
    norm_plus_one: bool = False
    qk_norm: str = "none"  # none, head, whole
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
        if self.rotary_dim == self.head_dim:
            object.__setattr__(self, "rotary_dim", 0)
        if all(layer == LayerKind() for layer in self.layers):
            object.__setattr__(self, "layers", ())

    @property
    def rotated(self) -> int:
        """Return how many elements of each head RoPE rotates."""
        return self.rotary_dim or self.head_dim

    @property
    def widest_gate(self) -> int:
        """Return how many numbers of one token the gates of a layer are: of a feed forward, or of chosen experts."""
        return max(self.hidden_dim, self.n_active_experts * self.expert_hidden_dim)

    def layer(self, number: int) -> LayerKind:
        """Return how a layer attends, and whether it has experts."""
        return self.layers[number] if self.layers else LayerKind()

    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Name -> shape of each tensor that a file must hold; the weights of a layer in the order of a pass."""
        shapes = {
            f"layers.{number}.{name}": shape
            for number in range(self.n_layers)
            for name, shape in self._shapes_of_layer(self.layer(number)).items()
        }
        shapes["tok_embeddings.weight"] = (self.vocab_size, self.dim)
        shapes["norm.weight"] = (self.dim,)
        if not self.tied:
            shapes["output.weight"] = (self.vocab_size, self.dim)
        return shapes

    def _shapes_of_layer(self, kind: LayerKind) -> dict[str, tuple[int, ...]]:
        q_rows, kv_rows = self.n_heads * self.head_dim, self.n_kv_heads * self.head_dim
        q_norm, k_norm = (q_rows, kv_rows) if self.qk_norm == "whole" else (self.head_dim, self.head_dim)
        every: dict[str, tuple[int, ...]] = {
            "attention_norm.weight": (self.dim,),
            "attention.wq.weight": (q_rows, self.dim),
            "attention.wk.weight": (kv_rows, self.dim),
            "attention.wv.weight": (kv_rows, self.dim),
            "attention.q_norm.weight": (q_norm,),
            "attention.k_norm.weight": (k_norm,),
            "attention.wo.weight": (self.dim, q_rows),
            "attention_post_norm.weight": (self.dim,),
            "ffn_norm.weight": (self.dim,),
            **(self._shapes_of_experts() if kind.experts else _shapes_of_gate("", self.hidden_dim, self.dim)),
            "ffn_post_norm.weight": (self.dim,),
        }
        absent = {"before": _POST_NORMS, "after": _NORMS}.get(self.norm_place, ())
        if self.qk_norm == "none":
            absent = (*absent, "attention.q_norm.weight", "attention.k_norm.weight")
        layer = {name: shape for name, shape in every.items() if name not in absent}
        biased = [f"attention.w{part}" for part in ("qkv" if self.qkv_bias else "") + ("o" if self.wo_bias else "")]
        biased += [f"feed_forward.w{part}" for part in "123" if self.mlp_bias]
        return layer | {f"{name}.bias": layer[f"{name}.weight"][:1] for name in biased}

    def _shapes_of_experts(self) -> dict[str, tuple[int, ...]]:
        shapes: dict[str, tuple[int, ...]] = {"feed_forward.router.weight": (self.n_experts, self.dim)}
        for expert in range(self.n_experts):
            shapes |= _shapes_of_gate(f"experts.{expert}.", self.expert_hidden_dim, self.dim)
        return shapes


def _shapes_of_gate(prefix: str, hidden_dim: int, dim: int) -> dict[str, tuple[int, ...]]:
    """Return the shapes of the three matrices of a feed forward, or of one expert."""
    return {
        f"feed_forward.{prefix}w1.weight": (hidden_dim, dim),
        f"feed_forward.{prefix}w2.weight": (dim, hidden_dim),
        f"feed_forward.{prefix}w3.weight": (hidden_dim, dim),
    }


@dataclass(frozen=True, eq=False)
class Merge:
    """What makes a matrix of a base with an adapter: base + scale * b @ a, and the parts of scale.

    base: float32 (rows, columns); a: float64 (rank, columns); b: float64 (rows, rank). Rows are in the source's
    order; raw_b has those of b in the adapter's own.
    """

    base: torch.Tensor
    a: torch.Tensor
    b: torch.Tensor
    raw_b: torch.Tensor
    alpha: float
    scale: float


class Source(ABC):
    """A checkpoint as the verifier sees it."""

    kind: str
    path: Path
    files: dict[str, str]  # name, relative to a directory's path -> sha256 of each file that was read
    hyperparameters: Hyperparameters
    has_adapter: bool = False  # whether an adapter is merged into some of the tensors
    notes: tuple[str, ...] = ()  # what was ignored, removed or decided while it was opened, a sentence each

    @abstractmethod
    def expect_unchanged(self) -> None:
        """Raise CannotJudgeError where a file of `files` is no longer the one that was opened."""

    @property
    @abstractmethod
    def tokenizer_path(self) -> Path:
        """Where the source's tokenizer would stand; it need not exist."""

    @property
    def tokenizer_block(self) -> bytes:
        """The tokenizer that stands in the source itself, which only a v3 file has; empty without one."""
        return b""

    @abstractmethod
    def tensor(self, name: str) -> torch.Tensor:
        """One tensor in llama2.c's name and RoPE convention, float32, owned by the caller. For a tied model
        "output.weight" is the embedding."""

    def merge(self, name: str) -> Merge | None:  # noqa: ARG002  # sources with an adapter look it up
        """Return what an adapter merges into a tensor; None if none changes it."""
        return None

    @abstractmethod
    def dtype(self, name: str) -> str:
        """What the tensor is stored as: "fp32" (float64 too), "fp16" or "bf16"."""
