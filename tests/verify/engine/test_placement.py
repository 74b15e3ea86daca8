"""Files of which parts hold zeros show where an engine is wrong, whatever its mistake."""

# ruff: noqa: ARG002  # a step of an engine gets what any mistake of it may need

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from helpers import toy_general as general
from helpers import toy_mistakes as toys
from helpers.models import arrays, config, hyperparameters
from helpers.toy_engine import (
    EmbeddingScaled,
    FinalNormMissing,
    Healthy,
    KvHeadsModulo,
    OneTokenWrong,
    QueriesEarly,
    ScoresOverHeadSize,
)

import exporter
import reader_c
from exporter.switches import LayerKind
from verify.diagnosis.mistakes import Mistake
from verify.engine.altered_copy import AlteredCopy
from verify.engine.experiments import Laboratory, Outcome, Run
from verify.engine.file_parts import FileParts
from verify.engine.hint_int8 import Int8Rounding
from verify.engine.hint_reference import MakeWatch, MistakenReference, logits_of
from verify.engine.placement import Place, find_places, told
from verify.oracle import llama
from verify.sources import Hyperparameters

F = np.float32
# more tokens than twice dim, and heads of several pairs
SHAPE = {
    **{"dim": 32, "hidden_dim": 24, "n_layers": 3, "n_heads": 4, "n_kv_heads": 2},
    **{"vocab_size": 80, "max_seq_len": 24},
}
TOKENS = np.random.default_rng(5).integers(0, SHAPE["vocab_size"], 12)
TOKENS[4] = 7


@contextmanager
def laboratory(directory: Path, run: Run, model: exporter.ModelConfig, *, q8: bool = False) -> Iterator[Laboratory]:
    """For an engine that computes what run(path of a file) returns."""
    held, file = arrays(model), directory / "file.bin"
    storage = {"storage": "q8_0", "group_size": 8} if q8 else {}
    exporter.export(exporter.Checkpoint.from_arrays(model, held), file, format="v3", **storage)
    with reader_c.open(file) as opened:
        hyper = hyperparameters(model)
        copy = AlteredCopy(opened, hyper, directory / "altered.bin")
        load = {name: torch.from_numpy(array) for name, array in held.items()}.__getitem__
        yield Laboratory(run, copy, hyper, load, TOKENS, None if q8 else 10.0, quantized=q8)


def of_toy(directory: Path, engine: type[Healthy]) -> tuple[Place, ...]:
    """Where an engine in numpy is wrong."""
    with laboratory(directory, lambda file: engine(Path(file)).logits(TOKENS), config(**SHAPE)) as lab:
        return find_places(lab)


def floats(model: reader_c.Model, name: str) -> torch.Tensor:
    found = model.tensor(name)
    return torch.from_numpy(np.array(found.dequantize() if isinstance(found, reader_c.QuantizedTensor) else found))


def healthy(
    model: exporter.ModelConfig,
    *,
    q8: bool = False,
    renamed: Callable[[llama.Load], llama.Load] = lambda load: load,
    watch: MakeWatch | None = None,
) -> Run:
    """The reference in float32 as an engine. renamed, watch: what makes it a wrong one."""
    hyper = hyperparameters(model)

    def run(file: str) -> np.ndarray:
        with reader_c.open(file) as opened:
            held = {name: floats(opened, name) for name in opened.names}
        engine = MistakenReference(Mistake(""), "", hyper, renamed(held.__getitem__), watch)
        inputs = Int8Rounding(lambda _matrix: 8) if q8 else llama.unrounded
        return logits_of(engine, torch.from_numpy(TOKENS), torch.float32, inputs).numpy()

    return run


def halved_rows(hyper: Hyperparameters, tensor: str, rows: list[int]) -> list[int]:
    """Where a file in halves holds rows of queries, keys and their norms: pair j stands at j and j + head_dim / 2."""
    if tensor.split(".")[-2] not in ("wq", "wk", "q_norm", "k_norm"):
        return rows
    size = hyper.head_dim
    return [row // size * size + row % 2 * (size // 2) + row % size // 2 for row in rows]


def of_reference(
    directory: Path, changes: dict[str, object], *, q8: bool = False, **mistake: Any
) -> tuple[Place, ...]:
    """Where the reference with a mistake is wrong."""
    model = config(**{**SHAPE, **changes})
    with laboratory(directory, healthy(model, q8=q8, **mistake), model, q8=q8) as lab:
        return find_places(lab)


class SecondHeadNotRotated(Healthy):
    def rotated(self, x: np.ndarray, position: int) -> np.ndarray:
        turned = super().rotated(x, position)
        if len(x) == self.c.n_heads:
            turned[1] = x[1]
        return turned


class UpOfTheTailMissing(Healthy):
    """The last hidden elements are skipped, as by a loop unrolled by 9."""

    def step(self, token: int, position: int) -> np.ndarray:
        for layer in self.layers():
            self.w[f"layers.{layer}.feed_forward.w3.weight"] = self.w[f"layers.{layer}.feed_forward.w3.weight"].copy()
            self.w[f"layers.{layer}.feed_forward.w3.weight"][18:] = 0
        return super().step(token, position)


class TwoPlaces(toys.KeysBackwards, toys.SigmoidOfMinus):
    """Two mistakes at once."""


class LogitsOfTwoTokensOff(Healthy):
    def finished(self, logits: np.ndarray, token: int, position: int) -> np.ndarray:
        logits[[3, 70]] += F(0.5)
        return logits


SPARSE = {
    **{"n_experts": 4, "n_active_experts": 2, "expert_hidden_dim": 24},
    "layers": (LayerKind(experts=True),) * 3,
}


@pytest.mark.parametrize(
    ("engine", "part", "where"),
    [
        (toys.KeysBackwards, "attention-rope", ("in every layer",)),
        (QueriesEarly, "attention-rope", ("in every layer",)),
        (ScoresOverHeadSize, "attention-scores", ("in every layer",)),
        (toys.WithoutWo, "last-matrices", ()),
        (KvHeadsModulo, "attention-values", ("in every layer",)),
        (toys.FirstPositionMissing, "attention-positions", ("in every layer",)),
        (toys.OneCache, "attention-positions", ("in layers 0, 1",)),
        (toys.SigmoidOfMinus, "feed-forward", ("in every layer",)),
        (UpOfTheTailMissing, "feed-forward", ("in every layer", "hidden elements 18-20, 21-23")),
        (toys.LastFeedForwardMissing, "feed-forward", ("in layer 2",)),
        (toys.Parallel, "between-layers", ()),
        (EmbeddingScaled, "before-classifier", ()),
        (FinalNormMissing, "before-classifier", ()),
        (general.StreamInBfloat16, "before-classifier", ()),
        (OneTokenWrong, "before-classifier", ("for token ids 7",)),
        (LogitsOfTwoTokensOff, "classifier", ("for the logits of token ids 3, 70",)),
    ],
)
def test_a_mistake_is_placed(tmp_path: Path, engine: type[Healthy], part: str, where: tuple[str, ...]) -> None:
    (found,) = of_toy(tmp_path, engine)
    assert (found.part, found.where) == (part, where), found


def test_two_mistakes_are_placed_each(tmp_path: Path) -> None:
    attention, feed_forward = of_toy(tmp_path, TwoPlaces)
    assert (attention.part, feed_forward.part) == ("attention-rope", "feed-forward")
    assert attention.shown[0] == "wrong, too, without attention"


def test_what_the_experiments_showed_is_said(tmp_path: Path) -> None:
    assert told(of_toy(tmp_path, toys.KeysBackwards)) == (
        "no known mistake gives its logits, but copies of the file with zeros show where it is wrong: "
        "the rotation of queries and keys by RoPE, in every layer (right without attention, wrong with attention "
        "alone, right with queries of zeros, right, or nearly so, with queries that have only the pair that RoPE "
        "turns least)"
    )


def test_one_of_several_heads_is_named(tmp_path: Path) -> None:
    (found,) = of_toy(tmp_path, SecondHeadNotRotated)
    assert (found.part, found.where) == ("attention-rope", ("in every layer", "head 1"))


def test_biases_are_told_from_the_rest_of_the_scores(tmp_path: Path) -> None:
    def renamed(load: llama.Load) -> llama.Load:
        return lambda name: -load(name) if name.endswith("wq.bias") else load(name)

    (found,) = of_reference(tmp_path, {"qkv_bias": True}, renamed=renamed)
    assert found.part == "attention-biases"


def test_the_wrong_one_of_four_experts_is_named(tmp_path: Path) -> None:
    def renamed(load: llama.Load) -> llama.Load:
        return lambda name: load(name.replace("experts.2.w1", "experts.1.w1"))

    (found,) = of_reference(tmp_path, SPARSE, renamed=renamed)
    assert (found.part, found.where) == ("experts", ("in every layer", "expert 2"))


def test_int8_activations_are_compared_with_the_reader(tmp_path: Path) -> None:
    def negated_keys(operation: str, y: torch.Tensor) -> torch.Tensor:
        return -y if operation == "k" else y

    (found,) = of_reference(tmp_path, {}, q8=True, watch=lambda *_: negated_keys)
    assert (found.part, found.where) == ("attention-scores", ("in every layer",))


def test_a_mistake_of_all_products_with_int8_is_told_from_one_outside_of_layers(tmp_path: Path) -> None:
    """Here scales of weights, which the classifier has, too, are twice too large."""

    def renamed(load: llama.Load) -> llama.Load:
        return lambda name: load(name) * (1 if "norm" in name else 2)

    (found,) = of_reference(tmp_path, {}, q8=True, renamed=renamed)
    assert found.part == "outside-layers"
    assert found.where == ("unless Q8_0 is read or multiplied in a wrong way everywhere",)


@pytest.mark.parametrize("q8", [False, True])
@pytest.mark.parametrize("changes", [{}, {"qkv_bias": True, "mlp_bias": True, "qk_norm": "head"}, SPARSE])
def test_a_healthy_engine_is_right_in_every_experiment(tmp_path: Path, changes: dict[str, object], q8: bool) -> None:
    """So that nothing but a mistake can place one."""
    with laboratory(tmp_path, healthy(config(**SHAPE, **changes), q8=q8), config(**SHAPE, **changes), q8=q8) as lab:
        parts, layers = FileParts(lab.hyper), range(lab.hyper.n_layers)
        zeros = [
            *(part(layers) for part in (parts.attention, parts.feed_forward, parts.queries, parts.biases_of_scores)),
            *(part(1, layers) for part in (parts.pairs_but, parts.query_heads_but, parts.value_heads_but)),
            parts.hidden_but(range(3, 9), [0]),
            parts.experts_but(1, [2]),
        ]
        # an activation may turn, and with it the choice of an expert
        possible = {Outcome.RIGHT, Outcome.UNSURE} if q8 else {Outcome.RIGHT}
        assert {lab.try_with(one).outcome for one in zeros} <= possible


@pytest.mark.parametrize("format_name", ["v0", "v1-fp32", "v1", "v2", "v3", "v3-fp16", "v3-q8_0", "ajc1"])
def test_a_copy_holds_zeros_where_it_should_and_nothing_else(tmp_path: Path, format_name: str) -> None:
    """In rows of every tensor of the layers; after that it holds the file's own bytes again."""
    of_ajc1 = {"qk_norm": "head", "rope_theta": 1e6, "norm_eps": 1e-6, "tied": True} if format_name == "ajc1" else {}
    model = config(**SHAPE, **of_ajc1)
    file, changed = tmp_path / "file.bin", tmp_path / "altered.bin"
    name, _, storage = format_name.partition("-")
    options = {"storage": storage} if name == "v3" and storage else {}
    exporter.export(
        exporter.Checkpoint.from_arrays(model, arrays(model)),
        file,
        format=name if options else format_name,
        **({} if format_name in ("v0", "v1-fp32", "v3", "v3-fp16") else {"group_size": 8}),
        **options,
    )
    hyper, rows = hyperparameters(model), [1, 3]
    with reader_c.open(file) as opened:
        copy = AlteredCopy(opened, hyper, changed)
        for tensor in (name for name in opened.names if name.startswith("layers.")):
            copy.alter({tensor: rows})
            with reader_c.open(changed) as again:
                expected = {name: floats(opened, name) for name in opened.names}
                places = halved_rows(hyper, tensor, rows) if name == "ajc1" else rows
                expected[tensor][places] = 0
                for one, numbers in expected.items():
                    assert torch.equal(floats(again, one), numbers), (tensor, one)
        copy.alter({})
    assert changed.read_bytes() == file.read_bytes()
