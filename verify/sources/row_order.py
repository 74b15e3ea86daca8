"""Knows in which order a file holds the rows of queries and keys that RoPE turns together.

Sources and the verifier's own computations have llama2.c's order: each pair side by side. Files of qwen3.c's have
Hugging Face's: the first of each pair in the first half of its head, the second in the second half.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import torch

from verify.sources.source import Merge, Source

_HALVED = ("ajc1",)


def is_halved(file_format: str) -> bool:
    """Return whether files of this format hold the pairs of each head in two halves."""
    return file_format in _HALVED


def halved(heads: int, head_dim: int) -> torch.Tensor:
    """Return, for each row of a file in halves, the same row in llama2.c's order: (heads * head_dim,)."""
    pairs = torch.arange(heads * head_dim).view(heads, head_dim // 2, 2)
    return pairs.transpose(1, 2).flatten()


def paired(heads: int, head_dim: int) -> torch.Tensor:
    """Return, for each row in llama2.c's order, the same row of a file in halves: (heads * head_dim,)."""
    return halved(heads, head_dim).argsort()


def heads_in(name: str, n_heads: int, n_kv_heads: int) -> int:
    """Return how many heads' rows a tensor of such a file has, one for a norm of heads; 0 where the order is free."""
    module = name.split(".")[-2]
    return {"wq": n_heads, "wk": n_kv_heads, "q_norm": 1, "k_norm": 1}.get(module, 0)


def in_file_order(source: Source, file_format: str) -> Source:
    """Return the source with the rows of its tensors in the order of files of this format."""
    return _InHalves(source) if is_halved(file_format) else source


class _InHalves(Source):
    """A source whose pairs of rows stand in two halves of each head."""

    def __init__(self, source: Source) -> None:
        self._source = source
        self.kind, self.path, self.files, self.notes = source.kind, source.path, source.files, source.notes
        self.hyperparameters, self.has_adapter = source.hyperparameters, source.has_adapter

    def expect_unchanged(self) -> None:
        self._source.expect_unchanged()

    @property
    def tokenizer_path(self) -> Path:
        return self._source.tokenizer_path

    def tensor(self, name: str) -> torch.Tensor:
        tensor, hyper = self._source.tensor(name), self.hyperparameters
        heads = heads_in(name, hyper.n_heads, hyper.n_kv_heads)
        return tensor[halved(heads, hyper.head_dim)] if heads else tensor

    def merge(self, name: str) -> Merge | None:
        merge, hyper = self._source.merge(name), self.hyperparameters
        heads = heads_in(name, hyper.n_heads, hyper.n_kv_heads)
        if merge is None or not heads:
            return merge
        rows = halved(heads, hyper.head_dim)
        return replace(merge, base=merge.base[rows], b=merge.b[rows])

    def dtype(self, name: str) -> str:
        return self._source.dtype(name)
