"""An engine's mistake is told from the first operation that it spoils, on any model.

Mistakes are put into what a healthy engine recorded, each by the formula that a wrong engine would have.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from helpers.models import arrays, checkpoint, config, hyperparameters

import exporter
import reader_c
from verify.diagnosis import Stage, diagnose_operation
from verify.diagnosis.operations import _int8
from verify.operations.int8 import half_away
from verify.operations.recompute import Recompute
from verify.operations.record import record

MODELS = {
    "grouped queries": {},
    "one kv head": {"n_kv_heads": 1, "max_seq_len": 20},
    "as many": {"dim": 64, "n_heads": 4, "n_kv_heads": 2, "head_dim": 16, "qkv_bias": True},
}


class World:
    """A healthy model: what its engine recorded, stage by stage, and how it is judged."""

    def __init__(self, directory: Path, changes: dict[str, Any]) -> None:
        self.config = config(**changes)
        self.weights = {name: torch.from_numpy(array) for name, array in arrays(self.config).items()}
        path = directory / "model.bin"
        exporter.export(checkpoint(self.config), path, format="v3", overwrite=True)
        model = hyperparameters(self.config)
        self.recompute = Recompute(model, self.weights.__getitem__, lambda _name: None, "fp32", "mirror")
        self.tokens = np.random.default_rng(0).integers(0, 29, 20)
        self.stages: dict[int | str, Stage] = {}
        x, tokens = torch.empty(1, 0), torch.from_numpy(self.tokens)[None]
        with reader_c.open(path) as model:
            for layer, at in record(model, [self.tokens], "fp32", "mirror"):
                name = layer if layer is not None else "embedding" if "embedding" in at else "classifier"
                self.stages[name] = Stage(layer, at, x, tokens)
                x = at.get("ffn_residual", at.get("embedding", x))

    def stage(self, name: int | str, **recorded: torch.Tensor) -> Stage:
        return self.stages[name].with_recorded(**{key: value.float() for key, value in recorded.items()})

    def meaning(self, **changes: object) -> Recompute:
        """As if the source had meant something else than the engine computes."""
        return dataclasses.replace(self.recompute, model=dataclasses.replace(self.recompute.model, **changes))  # type: ignore[arg-type]

    def holding(self, name: str, weights: torch.Tensor) -> Recompute:
        """As if the source had other weights than the engine computes with."""
        return dataclasses.replace(
            self.recompute, weights=lambda asked: weights if asked == name else self.weights[asked]
        )


@pytest.fixture(params=MODELS)
def world(request: pytest.FixtureRequest, tmp_path: Path) -> World:
    return World(tmp_path, MODELS[request.param])


Case = tuple[Recompute, Stage, str, str]


def turned(w: World, name: str, *, halves: bool = False, sign: int = 1, by: int = 0) -> torch.Tensor:
    at, size = w.stages[1].at, w.config.head_dim
    heads = at[name].double().unflatten(-1, (-1, size))
    cosine, sine = (at[key].double().roll(by, 1).unsqueeze(2) for key in ("cosine", "sine"))
    pairs = heads.unflatten(-1, (2, -1)).mT if halves else heads.unflatten(-1, (-1, 2))
    even, odd = pairs.unbind(-1)
    new = torch.stack((even * cosine - sign * odd * sine, sign * even * sine + odd * cosine), -1)
    return (new.mT if halves else new).flatten(2)


def scored(w: World, mapping: Callable[[int], int], q: str = "q_rotated", k: str = "k_rotated") -> torch.Tensor:
    at, size = w.stages[1].at, w.config.head_dim
    queries, keys = (at[name][0].double().unflatten(-1, (-1, size)) for name in (q, k))
    picked = keys[:, [mapping(head) for head in range(w.config.n_heads)]]
    scores = torch.einsum("thd,shd->ths", queries, picked) / math.sqrt(size)
    return scores.masked_fill(at["scores"][0] == 0, 0)[None]


def mixed(w: World, mapping: Callable[[int], int], shares: torch.Tensor | None = None) -> torch.Tensor:
    at, size = w.stages[1].at, w.config.head_dim
    shares = at["shares"] if shares is None else shares
    values = at["v"][0].double().unflatten(-1, (-1, size))[:, [mapping(head) for head in range(w.config.n_heads)]]
    return torch.einsum("ths,shd->thd", shares[0].double(), values).flatten(1)[None]


def product(w: World, name: str, inputs: str, change: Callable[[torch.Tensor], torch.Tensor]) -> torch.Tensor:
    return w.stages[1].at[inputs].double() @ change(w.weights[f"layers.1.{name}.weight"].double()).T


def cut(weights: torch.Tensor) -> torch.Tensor:
    weights = weights.clone()
    weights[:, -8:] = 0
    return weights


def numbers(w: World) -> Iterator[tuple[str, Case]]:
    """signature, and (recompute, stage, operation, text of the sentence)"""
    plain, at = w.recompute, w.stages[1].at
    yield "norm-eps", (w.meaning(norm_eps=1e-6), w.stage(1), "ffn_norm", "epsilon of 1e-05 instead of 1e-06")
    yield "norm-eps", (w.meaning(norm_eps=3e-4), w.stage(1), "attention_norm", "1e-05 instead of 0.0003")
    yield "rope-theta", (w.meaning(rope_theta=1e5), w.stage(1), "cosine", "theta of 10000 instead of 100000")
    yield "rope-theta", (w.meaning(rope_theta=7777.0), w.stage(0), "sine", "theta of 10000 instead of 7777")
    # an engine that counts positions from -1
    early = {name: at[name].roll(1, 1) for name in ("cosine", "sine")}
    early["cosine"][:, 0], early["sine"][:, 0] = at["cosine"][:, 1], -at["sine"][:, 1]
    yield "rope-position", (plain, w.stage(1, **early), "sine", "the position before should have")


def rotations(w: World) -> Iterator[tuple[str, Case]]:
    for name in "qk":
        operation = f"{name}_rotated"
        for signature, values, text in (
            ("rope-half-split", turned(w, name, halves=True), "head_dim / 2"),
            ("rope-backwards", turned(w, name, sign=-1), "the other way"),
            ("rope-missing", w.stages[1].at[name], "not applied"),
            ("rope-position", turned(w, name, by=-1), "of the position after"),
        ):
            yield signature, (w.recompute, w.stage(1, **{operation: values}), operation, text)


def attention(w: World) -> Iterator[tuple[str, Case]]:
    plain, at = w.recompute, w.stages[1].at
    kv, queries = w.config.n_kv_heads, w.config.n_heads // w.config.n_kv_heads
    if kv > 1:
        wrong: list[tuple[Callable[[int], int], str]] = [
            (lambda head: head % kv, "head %"),
            (lambda head: (head // queries + 1) % kv, "one too"),
        ]
        for mapping, text in wrong:
            yield "kv-heads", (plain, w.stage(1, scores=scored(w, mapping)), "scores", text)
            yield "kv-heads", (plain, w.stage(1, attended=mixed(w, mapping)), "attended", text)
    root = math.sqrt(w.config.head_dim)
    yield "score-scale", (plain, w.stage(1, scores=at["scores"].double() * root), "scores", "not divided")
    yield "score-scale", (plain, w.stage(1, scores=at["scores"].double() / root), "scores", "divided by head_dim")
    unturned = scored(w, lambda head: head // queries, "q", "k")
    yield "rope-missing", (plain, w.stage(1, scores=unturned), "scores", "before RoPE")
    own = torch.eye(20, dtype=torch.bool)[:, None, :]
    others = mixed(w, lambda head: head // queries, at["shares"].masked_fill(own, 0))
    yield "own-position", (plain, w.stage(1, attended=others), "attended", "own position")


def products(w: World) -> Iterator[tuple[str, Case]]:
    plain = w.recompute
    swapped = product(w, "feed_forward.w3", "ffn_norm", torch.clone)
    yield "other-tensor", (plain, w.stage(1, gate=swapped), "gate", "w3.weight instead of")
    first = product(w, "feed_forward.w2", "gated", lambda _: w.weights["layers.0.feed_forward.w2.weight"].double())
    yield "other-layer", (plain, w.stage(1, down=first), "down", "layers.0.feed_forward.w2.weight instead of")
    short = product(w, "feed_forward.w3", "ffn_norm", cut)
    yield "last-inputs-dropped", (plain, w.stage(1, up=short), "up", "last 8")
    shifted = product(w, "feed_forward.w1", "ffn_norm", lambda weights: weights.roll(1, 0))
    yield "rows-shifted", (plain, w.stage(1, gate=shifted), "gate", "a row off")
    half = product(w, "feed_forward.w2", "gated", lambda weights: weights.bfloat16().double())
    yield "narrowed", (plain, w.stage(1, down=half), "down", "bfloat16")
    if w.config.n_heads * w.config.head_dim == w.config.dim:
        transposed = product(w, "attention.wo", "attended", lambda weights: weights.T)
        yield "transposed", (plain, w.stage(1, wo=transposed), "wo", "transposed")
    if w.config.qkv_bias:
        bare = product(w, "attention.wq", "attention_norm", torch.clone)
        yield "bias-dropped", (plain, w.stage(1, q=bare), "q", "wq.bias is not added")
    embedding = w.weights["tok_embeddings.weight"].double()
    logits = w.stages["classifier"].at["final_norm"].double() @ embedding.T
    yield "tied-classifier", (plain, w.stage("classifier", logits=logits), "logits", "tok_embeddings.weight instead")
    after = embedding[(torch.from_numpy(w.tokens) + 1) % 29][None]
    yield "rows-shifted", (plain, w.stage("embedding", embedding=after), "embedding", "the token after")


def others(w: World) -> Iterator[tuple[str, Case]]:
    plain, at = w.recompute, w.stages[1].at
    gelu = torch.nn.functional.gelu(at["gate"].double()) * at["up"].double()
    yield "activation", (plain, w.stage(1, gated=gelu), "gated", "gelu instead of silu")
    other_way = torch.nn.functional.silu(at["up"].double()) * at["gate"].double()
    yield "gate-up-swapped", (plain, w.stage(1, gated=other_way), "gated", "swapped")
    yield "residual", (plain, w.stage(1, ffn_residual=at["attention_residual"]), "ffn_residual", "down's result")
    yield "residual", (plain, w.stage(1, attention_residual=at["wo"]), "attention_residual", "the stream before")


@pytest.mark.parametrize(
    ("rounding", "text"), [(torch.trunc, "towards zero"), (torch.round, "to even"), (torch.floor, "down")]
)
def test_another_rounding_of_int8_activations_is_told(
    world: World, rounding: Callable[[torch.Tensor], torch.Tensor], text: str
) -> None:
    """Halves to even differ from halves away from zero in nothing but halves, so there must be some."""
    x = torch.tensor([127.0, 0.5, 1.5, -2.5, 3.25, -7.75, 100.9, 0.0] * 6).expand(1, 20, 48)
    steps = rounding(x).clamp(-127, 127).to(torch.int8)
    weights = (torch.ones(40, 48, dtype=torch.int8), torch.ones(40, 6))
    recompute = dataclasses.replace(world.recompute, activations="q8", quantized=lambda _name: weights)
    recorded = {"ffn_norm": x, "gate int8": steps, "gate scale": torch.ones(1, 20, 6)}
    stage = dataclasses.replace(world.stages[1], at={**world.stages[1].at, **recorded})
    supposed = list(_int8(recompute, stage, "gate int8"))
    right = half_away(x.double())
    matching = [s.sentence for s in supposed if torch.equal(s.stage.at["gate int8"].double(), right.clamp(-127, 127))]
    assert matching == [f"int8 activations are {matching[0].removeprefix('int8 activations are ')}"]
    assert text in matching[0]
    assert list(_int8(recompute, stage, "gate")) == []


@pytest.mark.parametrize("mistakes", [numbers, rotations, attention, products, others])
def test_every_mistake_is_told_by_its_operation(
    world: World, mistakes: Callable[[World], Iterator[tuple[str, Case]]]
) -> None:
    for signature, (recompute, stage, operation, text) in mistakes(world):
        found = diagnose_operation(recompute, stage, operation)
        assert found is not None, (signature, operation, text)
        assert (found.signature, text in found.sentence) == (signature, True), (signature, found)


def test_what_is_no_known_mistake_gets_no_name(world: World) -> None:
    rng = np.random.default_rng(1)
    for operation, recorded in world.stages[1].at.items():
        spoiled = recorded + torch.from_numpy(rng.standard_normal(recorded.shape)) * (recorded != 0)
        stage = world.stage(1, **{operation: spoiled})
        assert diagnose_operation(world.recompute, stage, operation) is None
