"""A source for the verifier out of arrays in memory, of any model."""

from __future__ import annotations

from pathlib import Path

import torch

import exporter
from helpers.models import Arrays
from verify.sources import Hyperparameters, Source


class MemorySource(Source):
    kind = "memory"
    path = Path("memory")

    def __init__(self, model: exporter.ModelConfig, mine: Arrays) -> None:
        self.files = {}
        self._arrays = mine
        fields = ("dim", "hidden_dim", "n_layers", "n_heads", "n_kv_heads", "vocab_size", "max_seq_len", "tied")
        biases = ("qkv_bias", "wo_bias", "mlp_bias")
        known = {field: getattr(model, field) for field in (*fields, *biases, "norm_eps", "rope_theta", "head_dim")}
        self.hyperparameters = Hyperparameters(**known)

    @property
    def tokenizer_path(self) -> Path:
        return self.path / "tokenizer.model"

    def tensor(self, name: str) -> torch.Tensor:
        tied = name == "output.weight" and self.hyperparameters.tied
        return torch.from_numpy(self._arrays["tok_embeddings.weight" if tied else name].copy())

    def dtype(self, name: str) -> str:  # noqa: ARG002
        return "fp32"
