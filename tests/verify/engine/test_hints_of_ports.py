"""Mistakes of ports, in an engine that shares no code with the reference, get their names; what is near gets none."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers import toy_ports as ports
from helpers.models import arrays, config, hyperparameters
from helpers.toy_engine import Healthy
from helpers.toy_general import StreamInBfloat16

import exporter
from verify.engine import hint_search
from verify.engine.hint_angles import of_angles
from verify.engine.hint_cache import of_shared_caches, of_unwritten, of_wrapped
from verify.engine.hint_in_place import of_in_place
from verify.engine.hint_parts import of_leftovers, of_parts
from verify.engine.hint_precision import of_precision
from verify.engine.hint_reference import Load, MistakenReference
from verify.engine.hint_repeated import of_repeated
from verify.engine.hint_search import Hint, Seen, find_hint
from verify.engine.hint_steps import of_steps
from verify.oracle import llama
from verify.oracle.logit_sigma import logit_sigma
from verify.sources import Hyperparameters

Family = Callable[[Hyperparameters, Load], Iterator[MistakenReference]]
_COMMON = {"dim": 48, "hidden_dim": 40, "n_heads": 4, "n_kv_heads": 2, "vocab_size": 37, "max_seq_len": 40}
# one layer is enough for most, and quick
_MODELS = {
    "plain": config(**_COMMON, n_layers=1),
    "biases": config(**_COMMON, n_layers=1, qkv_bias=True),
    "norms": config(**_COMMON, n_layers=1, qk_norm="head"),
    "two layers": config(**_COMMON, n_layers=2),
    "deep": config(**(_COMMON | {"dim": 128, "hidden_dim": 256}), n_layers=4),
}


@dataclass(frozen=True)
class Scene:
    """A file for engines, with the right logits and their sigma."""

    file: Path
    hyper: Hyperparameters
    load: Load
    tokens: np.ndarray
    right: np.ndarray
    sigma: np.ndarray

    def hint(self, engine: type[Healthy]) -> Hint | None:
        found = engine(self.file).logits(self.tokens)
        return find_hint(Seen(self.tokens, found, self.right, self.sigma, 10.0), self.hyper, self.load, 0)


@pytest.fixture(scope="module")
def scenes(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Scene]:
    directory, made = tmp_path_factory.mktemp("ports"), {}

    def scene(name: str) -> Scene:
        if name not in made:
            model, file = _MODELS[name], directory / f"{name}.bin"
            held = arrays(model)
            exporter.export(exporter.Checkpoint.from_arrays(model, held), file, format="v3")
            weights, hyper = {key: torch.from_numpy(array) for key, array in held.items()}, hyperparameters(model)
            tokens = np.random.default_rng(5).integers(0, model.vocab_size, 30 if name == "deep" else 14)
            window, load = torch.from_numpy(tokens)[None], weights.__getitem__
            right = llama.logits(hyper, load, window).numpy()[0]
            sigma = logit_sigma(hyper, load, window, seed=0).numpy()[0]
            made[name] = Scene(file, hyper, load, tokens, right, sigma)
        return made[name]

    return scene


@pytest.mark.parametrize(
    ("engine", "model", "name", "text"),
    [
        (ports.KeysTurnedByEachQueryHead, "plain", "rope-of-heads", "rotates keys 2 times, once for each query head"),
        (ports.QueriesTurnedInKvHeads, "plain", "rope-of-heads", "rotates queries in the first 2 heads only"),
        (ports.FirstHeadTurned, "plain", "rope-of-heads", "rotates queries and keys in the first head only"),
        (ports.QueriesNormedInKvHeads, "norms", "qk-norm-of-heads", "normalises queries in the first 2 heads only"),
        (
            ports.ScoresScaledInKvHeads,
            "plain",
            "scores-of-heads",
            "scales attention scores in the first 2 heads only",
        ),
        (
            ports.BiasesAfterRope,
            "biases",
            "steps-order",
            "queries and keys by product, RoPE, bias instead of product",
        ),
        (ports.NormsAfterRope, "norms", "steps-order", "queries and keys by product, RoPE, norm instead of product"),
        (ports.AnglesInBfloat16, "plain", "rope-narrowed", "rounds the angles of RoPE to bf16"),
        (ports.SinesInBfloat16, "plain", "rope-narrowed", "rounds the sines and cosines of RoPE to bf16"),
        (ports.AllOfRopeInFloat16, "plain", "rope-narrowed", "positions, frequencies, angles and sines and cosines"),
        (ports.TurnedInPlace, "plain", "rope-signs", "to (x' = x cos - y sin, x' sin + y cos)"),
        (ports.WoInPlace, "plain", "in-place", "writes each row's product with wo over what attention mixed"),
        (ports.OwnPositionUnwritten, "plain", "stale-cache", "before it writes those of the position"),
        (ports.CacheOfNinePlaces, "plain", "stale-cache", "keeps position p at place p % 9 of its cache"),
        (ports.PlacesOfLayersOverlap, "two layers", "shared-cache", "begin one position later in its cache"),
        (
            ports.DownReadsTheGate,
            "plain",
            "part-left",
            "leaves the last 10 elements of the product of activated gate",
        ),
        (ports.OneLogitConstant, "plain", "logits-constant", "gives -10000 as the logit of token 5"),
        (
            ports.OneLogitConstantOnce,
            "plain",
            "logits-constant",
            "gives -10000 as the logit of token 5 at position 7",
        ),
        (ports.OneLogitRaised, "plain", "logits-partly-offset", "adds 2.5 to the logit of token 5"),
    ],
)
def test_a_mistake_gets_its_name(
    scenes: Callable[[str], Scene], engine: type[Healthy], model: str, name: str, text: str
) -> None:
    found = scenes(model).hint(engine)
    assert found is not None
    assert (found.mistake.name, text in found.sentence) == (name, True), found


def of_nine_places(hyper: Hyperparameters, load: Load) -> Iterator[MistakenReference]:
    return of_wrapped(hyper, load, 9)


def alone(monkeypatch: pytest.MonkeyPatch, *families: Family) -> None:
    """Search these families alone, which is quick."""

    def references(hyper: Hyperparameters, load: Load, *_: object) -> Iterator[MistakenReference]:
        for family in families:
            yield from family(hyper, load)

    monkeypatch.setattr(hint_search, "mistaken_references", lambda *_: iter(()))
    monkeypatch.setattr(hint_search, "general_references", references)
    monkeypatch.setattr(hint_search, "_fitted", lambda *_: iter(()))


@pytest.mark.parametrize(
    ("engine", "text"),
    [
        (ports.SevenOfEightLanes, "every 8th element, from element 7 on, of what attention mixed"),
        (ports.RowsOfOneThreadMissing, "the part 1 of 4 equal ones of the result of attention (wo)"),
        (ports.ScoresWithoutLastElement, "the last element of each head of queries"),
    ],
)
def test_a_missing_lane_or_share_is_named(
    scenes: Callable[[str], Scene], monkeypatch: pytest.MonkeyPatch, engine: type[Healthy], text: str
) -> None:
    alone(monkeypatch, of_parts)
    found = scenes("plain").hint(engine)
    assert found is not None
    assert found.sentence == f"has zeros for {text}"


@pytest.mark.parametrize(
    ("engine", "text"),
    [
        (StreamInBfloat16, "rounds the residual stream to bf16"),
        (ports.EmbeddingsInBfloat16Too, "rounds embeddings and the residual stream to bf16"),
        (ports.StreamAfterAttentionInBfloat16, "rounds the stream after attention to bf16"),
        (ports.StreamInFloat16, "rounds the residual stream to fp16 (10 bits, as tf32 has)"),
        (ports.StreamRoundedAtRandom, ""),
        (ports.StreamRoundedInFirstLayers, ""),
    ],
)
def test_a_rounded_stream_is_named_although_roundings_turn(
    scenes: Callable[[str], Scene], monkeypatch: pytest.MonkeyPatch, engine: type[Healthy], text: str
) -> None:
    """In a deep model some number is rounded to the other side, and then many others."""
    alone(monkeypatch, of_precision)
    found = scenes("deep").hint(engine)
    assert (found.sentence if found else "") == text


@pytest.mark.parametrize(
    ("engine", "model", "families"),
    [
        (ports.Whole, "biases", (of_steps,)),
        (ports.Whole, "norms", (of_steps, of_repeated)),
        (ports.SecondHeadHalfTurned, "plain", (of_repeated,)),
        (ports.HalfBiasesAfterRope, "biases", (of_steps,)),
        (ports.SinesOnAGrid, "plain", (of_angles,)),
        (ports.WoInPlaceBackwards, "plain", (of_in_place, of_leftovers)),
        (ports.OwnPositionHalved, "plain", (of_unwritten, of_shared_caches)),
        (ports.CacheOfNinePlacesLastReadOnce, "plain", (of_nine_places,)),
        (ports.OneLogitOffOnce, "plain", ()),
        (ports.OneLogitNoisy, "plain", ()),
    ],
)
def test_a_neighbour_gets_no_name(
    scenes: Callable[[str], Scene],
    monkeypatch: pytest.MonkeyPatch,
    engine: type[Healthy],
    model: str,
    families: tuple[Family, ...],
) -> None:
    alone(monkeypatch, *families)
    assert scenes(model).hint(engine) is None
