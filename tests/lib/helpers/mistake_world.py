"""A healthy model with what its engine recorded, into which mistakes of an engine are put."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch

import exporter
import reader_c
from helpers.models import arrays, checkpoint, config
from verify.diagnosis import Stage, diagnose_operation
from verify.operations.recompute import Recompute
from verify.operations.record import record
from verify.sources import Hyperparameters

MODELS: dict[str, dict[str, Any]] = {
    "grouped queries": {},
    "one kv head": {"n_kv_heads": 1, "max_seq_len": 20},
    "as many": {"dim": 64, "n_heads": 4, "n_kv_heads": 2, "head_dim": 16, "qkv_bias": True},
}
LENGTH = 20

# (recompute, stage, operation, text of the sentence)
Case = tuple[Recompute, Stage, str, str]


class World:
    """A healthy model: what its engine recorded, stage by stage, and how that is recomputed."""

    def __init__(self, directory: Path, changes: dict[str, Any]) -> None:
        self.config = config(**changes)
        self.weights = {name: torch.from_numpy(array) for name, array in arrays(self.config).items()}
        path = directory / "model.bin"
        exporter.export(checkpoint(self.config), path, format="v3", overwrite=True)
        fields = dataclasses.fields(Hyperparameters)
        hyper = Hyperparameters(**{field.name: getattr(self.config, field.name) for field in fields})
        self.recompute = Recompute(hyper, self.weights.__getitem__, lambda _name: None, "fp32", "mirror")
        self.tokens = np.random.default_rng(0).integers(0, 29, LENGTH)
        self.stages: dict[int | str, Stage] = {}
        x, tokens = torch.empty(1, 0), torch.from_numpy(self.tokens)[None]
        with reader_c.open(path) as model:
            for layer, at in record(model, [self.tokens], "fp32", "mirror"):
                name = layer if layer is not None else "embedding" if "embedding" in at else "classifier"
                self.stages[name] = Stage(layer, at, x, tokens)
                x = at.get("ffn_residual", at.get("embedding", x))

    def stage(self, name: int | str, **recorded: torch.Tensor) -> Stage:
        """A stage as if it had recorded these tensors."""
        return self.stages[name].with_recorded(**{key: value.float() for key, value in recorded.items()})

    def meaning(self, **changes: object) -> Recompute:
        """Recompute as if the source had other hyperparameters than the engine."""
        return dataclasses.replace(self.recompute, hyper=dataclasses.replace(self.recompute.hyper, **changes))  # type: ignore[arg-type]


def assert_named(cases: Iterator[tuple[str, Case]]) -> None:
    """Every case gets its mistake's name, and a sentence with its text."""
    count = 0
    for mistake, (recompute, stage, operation, text) in cases:
        found = diagnose_operation(recompute, stage, operation)
        assert found is not None, (mistake, operation, text)
        assert (found.signature, text in found.sentence) == (mistake, True), (mistake, found)
        count += 1
    assert count > 0


def rotated(w: World, name: str, *, halves: bool = False, sign: int = 1, by: int = 0) -> torch.Tensor:
    """q or k of layer 1 after another rotation."""
    at, size = w.stages[1].at, w.config.head_dim
    heads = at[name].double().unflatten(-1, (-1, size))
    cosine, sine = (at[key].double().roll(by, 1).unsqueeze(2) for key in ("cosine", "sine"))
    pairs = heads.unflatten(-1, (2, -1)).mT if halves else heads.unflatten(-1, (-1, 2))
    even, odd = pairs.unbind(-1)
    new = torch.stack((even * cosine - sign * odd * sine, sign * even * sine + odd * cosine), -1)
    return (new.mT if halves else new).flatten(2)


def scored(w: World, mapping: Callable[[int], int], q: str = "q_rotated", k: str = "k_rotated") -> torch.Tensor:
    """Scores of layer 1 with kv head mapping(h) for query head h."""
    at, size = w.stages[1].at, w.config.head_dim
    queries, keys = (at[name][0].double().unflatten(-1, (-1, size)) for name in (q, k))
    picked = keys[:, [mapping(head) for head in range(w.config.n_heads)]]
    scores = torch.einsum("thd,shd->ths", queries, picked) / math.sqrt(size)
    return scores.masked_fill(at["scores"][0] == 0, 0)[None]


def mixed(w: World, mapping: Callable[[int], int], shares: torch.Tensor | None = None) -> torch.Tensor:
    """Attention's output of layer 1 with kv head mapping(h) for query head h."""
    at, size = w.stages[1].at, w.config.head_dim
    shares = at["shares"] if shares is None else shares
    values = at["v"][0].double().unflatten(-1, (-1, size))[:, [mapping(head) for head in range(w.config.n_heads)]]
    return torch.einsum("ths,shd->thd", shares[0].double(), values).flatten(1)[None]


def product(w: World, name: str, inputs: str, change: Callable[[torch.Tensor], torch.Tensor]) -> torch.Tensor:
    """A product of layer 1 with changed weights."""
    return w.stages[1].at[inputs].double() @ change(w.weights[f"layers.1.{name}.weight"].double()).T
