"""A model whose numbers somebody holds: a test that draws them, a program that computes them."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from verify.sources.source import Hyperparameters, Source


class MemorySource(Source):
    """load gives a tensor by llama2.c's name, float32, and is never asked for a tied classifier; dtype says what it
    counts as: "fp32", "fp16" or "bf16". files has the digest of each tensor's bytes, since there is no file, and one
    of all else that decides what the model is."""

    kind = "memory"
    path = Path("memory")

    def __init__(
        self,
        hyperparameters: Hyperparameters,
        load: Callable[[str], NDArray[np.float32]],
        dtype: Callable[[str], str] = lambda _name: "fp32",
    ) -> None:
        self.hyperparameters = hyperparameters
        self._load, self._dtype = load, dtype
        names = list(hyperparameters.shapes())
        said = repr((hyperparameters, [dtype(name) for name in names]))
        self.files = {name: hashlib.sha256(load(name).tobytes()).hexdigest() for name in names}
        self.files["hyperparameters and dtypes"] = hashlib.sha256(said.encode()).hexdigest()

    def expect_unchanged(self) -> None:
        """There is no file."""

    @property
    def tokenizer_path(self) -> Path:
        return self.path / "tokenizer.model"

    def tensor(self, name: str) -> torch.Tensor:
        return torch.from_numpy(self._load(self._held(name)).copy())

    def dtype(self, name: str) -> str:
        return self._dtype(self._held(name))

    def _held(self, name: str) -> str:
        tied = name == "output.weight" and self.hyperparameters.tied
        return "tok_embeddings.weight" if tied else name
