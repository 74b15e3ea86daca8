"""llama2.c checkpoints on disk."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from helpers.models import arrays, config

# Of helpers.models.config().
_SHAPE = ("dim", "hidden_dim", "n_layers", "n_heads", "n_kv_heads", "vocab_size", "max_seq_len")
ARGS: dict[str, Any] = {**{field: getattr(config(), field) for field in _SHAPE}, "dropout": 0.0}


def untied_state_dict(seed: int = 0) -> dict[str, torch.Tensor]:
    """The tiny model's tensors with a classifier of its own, which llama2.c's model.py does not train."""
    return {name: torch.from_numpy(array) for name, array in arrays(config(), seed).items()}


def state_dict(seed: int = 0) -> dict[str, torch.Tensor]:
    """The tiny model's tensors, as llama2.c's model.py saves them: the classifier is the embedding, stored once."""
    state = untied_state_dict(seed)
    return {**state, "output.weight": state["tok_embeddings.weight"]}


def save(directory: Path, state: dict[Any, Any], arguments: dict[str, Any] | None = None) -> Path:
    """A .pt as llama2.c's training loop writes it."""
    path = directory / "checkpoint.pt"
    torch.save({"model": state, "model_args": arguments or ARGS, "iter_num": 3, "best_val_loss": 1.5}, path)
    return path
