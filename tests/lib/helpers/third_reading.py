"""Reads llama2.c's and Meta's checkpoints a third time: what their own code makes of the arguments that are there,
and the logits that it then computes, in numpy and float64.

It follows the published behaviour of model.py, its ModelArgs and its loading, and shares no line with either road, so
that a meaning on which both agree wrongly shows.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Tensors = Mapping[str, torch.Tensor]


class StopsError(Exception):
    """The original code raises an exception here."""


@dataclass(frozen=True)
class Reading:
    """A model as its own code has built and loaded it. factor: of RoPE's scaling, 0 for none."""

    n_layers: int
    n_heads: int
    n_kv_heads: int
    hidden_dim: int
    norm_eps: float
    theta: float
    factor: float
    tensors: Mapping[str, Floats]

    def logits(self, tokens: list[int]) -> Floats:
        """Compute float64 [positions, vocab]."""
        x = self.tensors["tok_embeddings.weight"][tokens]
        for number in range(self.n_layers):
            of = {name.removeprefix(f"layers.{number}."): array for name, array in self.tensors.items()}
            x = x + self._attended(self._norm(x, of["attention_norm.weight"]), of)
            h = self._norm(x, of["ffn_norm.weight"])
            gate = h @ of["feed_forward.w1.weight"].T
            up = h @ of["feed_forward.w3.weight"].T
            x = x + (gate / (1 + np.exp(-gate)) * up) @ of["feed_forward.w2.weight"].T
        logits: Floats = self._norm(x, self.tensors["norm.weight"]) @ self.tensors["output.weight"].T
        return logits

    def _norm(self, x: Floats, weight: Floats) -> Floats:
        mean = np.mean(x * x, axis=1, keepdims=True)
        # a tensor of float32 takes the number for a float32
        return weight * (x / np.sqrt(mean + float(np.float32(self.norm_eps))))

    def _attended(self, h: Floats, of: Mapping[str, Floats]) -> Floats:
        q, k, v = (h @ of[f"attention.w{letter}.weight"].T for letter in "qkv")
        size = q.shape[1] // self.n_heads
        mixed = []
        for head in range(self.n_heads):
            shared = head // (self.n_heads // self.n_kv_heads)
            mine, its = slice(head * size, (head + 1) * size), slice(shared * size, (shared + 1) * size)
            scores = self._rotated(q[:, mine]) @ self._rotated(k[:, its]).T / np.sqrt(size)
            scores[np.triu_indices(len(h), 1)] = -np.inf
            shares = np.exp(scores - scores.max(axis=1, keepdims=True))
            mixed.append(shares / shares.sum(axis=1, keepdims=True) @ v[:, its])
        return np.concatenate(mixed, axis=1) @ of["attention.wo.weight"].T

    def _rotated(self, x: Floats) -> Floats:
        """Turn each pair of neighbours of one head."""
        size = x.shape[1]
        out = np.empty_like(x)
        for pair in range(0, size, 2):
            angle = np.arange(len(x)) * self._frequency(self.theta ** (-pair / size))
            even, odd = x[:, pair], x[:, pair + 1]
            out[:, pair] = even * np.cos(angle) - odd * np.sin(angle)
            out[:, pair + 1] = even * np.sin(angle) + odd * np.cos(angle)
        return out

    def _frequency(self, plain: float) -> float:
        """Scale as Llama 3.1 does: waves longer than 8192 positions are slowed, those shorter than 2048 are not."""
        wave = 2 * np.pi / plain
        if not self.factor or wave < 8192 / 4:
            return plain
        if wave > 8192:
            return plain / self.factor
        smooth = (8192 / wave - 1) / (4 - 1)
        return float((1 - smooth) * plain / self.factor + smooth * plain)


class _Tied(torch.nn.Module):
    """Embedding and classifier as model.py of llama2.c builds them: two modules, one parameter."""

    def __init__(self, vocab_size: int, dim: int) -> None:
        super().__init__()
        self.tok_embeddings = torch.nn.Embedding(vocab_size, dim)
        self.output = torch.nn.Linear(dim, vocab_size, bias=False)
        self.tok_embeddings.weight = self.output.weight


def loaded_by_model_py(state: Tensors) -> torch.Tensor:
    """Return what is in both places after load_state_dict, which is PyTorch's own here."""
    ends = {name: state[name] for name in state if name in ("tok_embeddings.weight", "output.weight")}
    model = _Tied(*state["output.weight"].shape)
    model.load_state_dict(ends, strict=False)
    return model.output.weight.detach()


def hidden_dim(dim: int, multiple_of: int, multiplier: float | None = None) -> int:
    hidden = int(2 * (4 * dim) / 3)
    if multiplier is not None:
        hidden = int(multiplier * hidden)
    return multiple_of * ((hidden + multiple_of - 1) // multiple_of)


# The dataclasses' fields with their defaults; a key that is not among them is a TypeError.
_OF_LLAMA2C: dict[str, Any] = {
    **{"dim": 4096, "n_layers": 32, "n_heads": 32, "n_kv_heads": None, "vocab_size": 32000, "hidden_dim": None},
    **{"multiple_of": 256, "norm_eps": 1e-5, "max_seq_len": 2048, "dropout": 0.0},
}
_OF_META: dict[str, Any] = {
    **{"dim": 4096, "n_layers": 32, "n_heads": 32, "n_kv_heads": None, "vocab_size": -1, "multiple_of": 256},
    **{"ffn_dim_multiplier": None, "norm_eps": 1e-5, "max_batch_size": 32, "max_seq_len": 2048},
}
_OF_META_3 = {**_OF_META, "rope_theta": 500000.0, "use_scaled_rope": False}


def of_llama2c(arguments: Mapping[str, Any], state: Tensors) -> Reading:
    """Read a .pt. Raises StopsError."""
    said = _said(_OF_LLAMA2C, arguments)
    tied = loaded_by_model_py(state)
    hidden = said["hidden_dim"]
    if hidden is None:
        hidden = hidden_dim(said["dim"], said["multiple_of"])
    ends = {"tok_embeddings.weight": tied, "output.weight": tied}
    return _loaded(said, hidden, {**state, **ends}, theta=10000.0, factor=0.0)


def of_meta(params: Mapping[str, Any], whole: Tensors, generation: int) -> Reading:
    """Read params.json and joined shards by the code of Llama 2 or 3. Raises StopsError."""
    known = _OF_META_3 if generation == 3 else _OF_META
    if generation == 3:  # which passes over what it does not know
        params = {key: value for key, value in params.items() if key in known}
    said = _said(known, params)
    if said["vocab_size"] == -1:  # taken from the tokenizer
        said["vocab_size"] = whole["tok_embeddings.weight"].shape[0]
    hidden = hidden_dim(said["dim"], said["multiple_of"], said["ffn_dim_multiplier"])
    factor = 8.0 if said.get("use_scaled_rope") else 0.0
    return _loaded(said, hidden, whole, theta=said.get("rope_theta", 10000.0), factor=factor)


def _said(defaults: Mapping[str, Any], given: Mapping[str, Any]) -> dict[str, Any]:
    unknown = given.keys() - defaults.keys()
    if unknown:
        raise StopsError(f"unexpected keyword arguments {sorted(unknown)}")
    said = {**defaults, **given}
    said["n_kv_heads"] = said["n_heads"] if said["n_kv_heads"] is None else said["n_kv_heads"]
    return said


def _loaded(said: Mapping[str, Any], hidden: int, tensors: Tensors, *, theta: float, factor: float) -> Reading:
    dim, vocab = said["dim"], said["vocab_size"]
    kv = said["n_kv_heads"] * (dim // said["n_heads"])
    shapes = {"tok_embeddings.weight": (vocab, dim), "output.weight": (vocab, dim), "norm.weight": (dim,)}
    for number in range(said["n_layers"]):
        for name, shape in (
            *(("attention_norm", (dim,)), ("ffn_norm", (dim,))),
            *(("attention.wq", (dim, dim)), ("attention.wk", (kv, dim)), ("attention.wv", (kv, dim))),
            *(("attention.wo", (dim, dim)), ("feed_forward.w1", (hidden, dim))),
            *(("feed_forward.w2", (dim, hidden)), ("feed_forward.w3", (hidden, dim))),
        ):
            shapes[f"layers.{number}.{name}.weight"] = shape
    wrong = [name for name, shape in shapes.items() if tuple(tensors[name].shape) != shape]
    if wrong:
        raise StopsError(f"size mismatch for {wrong[0]}")
    return Reading(
        n_layers=said["n_layers"],
        n_heads=said["n_heads"],
        n_kv_heads=said["n_kv_heads"],
        hidden_dim=hidden,
        norm_eps=said["norm_eps"],
        theta=theta,
        factor=factor,
        tensors={name: tensors[name].double().numpy() for name in shapes},
    )
