"""What the verifier knows of a source, whatever its kind."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from pathlib import Path

import torch


@dataclass(frozen=True)
class Hyperparameters:
    """Everything that decides a Llama's logits besides its weights."""

    dim: int
    hidden_dim: int
    n_layers: int
    n_heads: int
    n_kv_heads: int
    vocab_size: int
    max_seq_len: int
    tied: bool
    norm_eps: float
    rope_theta: float

    @property
    def head_dim(self) -> int:
        return self.dim // self.n_heads

    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Name -> shape of each tensor that a file of this model must hold."""
        square, kv = (self.dim, self.dim), (self.head_dim * self.n_kv_heads, self.dim)
        layer = {
            "attention_norm": (self.dim,),
            "attention.wq": square,
            "attention.wk": kv,
            "attention.wv": kv,
            "attention.wo": square,
            "ffn_norm": (self.dim,),
            "feed_forward.w1": (self.hidden_dim, self.dim),
            "feed_forward.w2": (self.dim, self.hidden_dim),
            "feed_forward.w3": (self.hidden_dim, self.dim),
        }
        shapes: dict[str, tuple[int, ...]] = {
            f"layers.{number}.{name}.weight": shape
            for number in range(self.n_layers)
            for name, shape in layer.items()
        }
        shapes["tok_embeddings.weight"] = (self.vocab_size, self.dim)
        shapes["norm.weight"] = (self.dim,)
        if not self.tied:
            shapes["output.weight"] = (self.vocab_size, self.dim)
        return shapes


class Source(ABC):
    """A checkpoint as the verifier sees it."""

    kind: str
    path: Path
    files: dict[str, str]  # name -> sha256 of each file that was read
    hyperparameters: Hyperparameters

    @property
    @abstractmethod
    def tokenizer_path(self) -> Path:
        """Where the source's tokenizer would stand; it need not exist."""

    @abstractmethod
    def tensor(self, name: str) -> torch.Tensor:
        """One tensor in llama2.c's name and RoPE convention, float32, owned by the caller. For a tied model
        "output.weight" is the embedding."""
