"""Rows that a writer took from a fused matrix, or permuted as if heads had another size, get the name of that."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from helpers import mistake_seeds as m
from helpers.mistake_files import diagnosed, written
from helpers.mistake_tables import MODELS, Q, healthy
from helpers.models import Arrays

from verify.diagnosis import Diagnosis

MODEL = MODELS["grouped"]
RIGHT = healthy(0, MODEL)
SIZE = MODEL.head_dim
QKV = [f"attention.w{letter}.weight" for letter in "qkv"]
GATE_UP = ["feed_forward.w1.weight", "feed_forward.w3.weight"]


def found(directory: Path, change: Callable[[Arrays], Arrays], kind: str) -> Diagnosis:
    diagnosis = diagnosed(written(directory / "x.bin", MODEL, RIGHT | change(RIGHT), kind), MODEL, RIGHT)
    assert diagnosis is not None
    return diagnosis


def of_layers(kinds: list[str], split: Callable[[list[np.ndarray]], list[np.ndarray]]) -> Callable[[Arrays], Arrays]:
    def change(right: Arrays) -> Arrays:
        made: Arrays = {}
        for layer in range(MODEL.n_layers):
            names = [f"layers.{layer}.{kind}" for kind in kinds]
            parts = split([right[name] for name in names])
            made |= {name: np.ascontiguousarray(part) for name, part in zip(names, parts, strict=True)}
        return made

    return change


def thirds(parts: list[np.ndarray]) -> list[np.ndarray]:
    """Three equal parts, of which a key takes the first rows."""
    cut = np.split(np.concatenate(parts), 3)
    return [np.resize(piece, part.shape) for piece, part in zip(cut, parts, strict=True)]


def by_kv_head(parts: list[np.ndarray]) -> list[np.ndarray]:
    """A matrix of whole parts, read as queries, key and value of one kv head after the other."""
    fused = np.concatenate(parts).reshape(MODEL.n_kv_heads, -1, SIZE, MODEL.dim)
    pieces = np.split(fused, [fused.shape[1] - 2, fused.shape[1] - 1], axis=1)
    return [piece.reshape(part.shape) for piece, part in zip(pieces, parts, strict=True)]


def of_shards(parts: list[np.ndarray]) -> list[np.ndarray]:
    """Shards of gate and up, one pair after the other, cut in the middle."""
    fused = np.concatenate([shard for pair in zip(*(np.split(w, 4) for w in parts), strict=True) for shard in pair])
    return np.split(fused, 2)


@pytest.mark.parametrize("kind", ["v1-fp32", "v2"])
@pytest.mark.parametrize(("kinds", "split"), [(QKV, thirds), (QKV, by_kv_head), (GATE_UP, of_shards)])
def test_rows_of_a_fused_matrix_get_their_name(
    tmp_path: Path, kinds: list[str], split: Callable[[list[np.ndarray]], list[np.ndarray]], kind: str
) -> None:
    diagnosis = found(tmp_path, of_layers(kinds, split), kind)
    assert (diagnosis.signature, diagnosis.explained) == ("fused-rows", 1), diagnosis
    assert "row 0 of " not in diagnosis.sentence or "row 0 of layers.0" in diagnosis.sentence


def test_one_unknown_row_is_no_fused_matrix(tmp_path: Path) -> None:
    def change(right: Arrays) -> Arrays:
        made = of_layers(QKV, by_kv_head)(right)
        for layer in range(MODEL.n_layers):
            made[f"layers.{layer}.{QKV[1]}"][3] += 1
        return made

    assert found(tmp_path, change, "v1-fp32").signature != "fused-rows"


def heads_of(size: int) -> Callable[[Arrays], Arrays]:
    def change(right: Arrays) -> Arrays:
        names = [f"layers.{layer}.{kind}" for layer in range(MODEL.n_layers) for kind in QKV[:2]]
        return {
            name: m.interleaved(m.half_split(right[name], len(right[name]) // SIZE), len(right[name]) // size)
            for name in names
        }

    return change


@pytest.mark.parametrize("kind", ["v1-fp32", "v2"])
def test_heads_of_another_size_are_named_with_it(tmp_path: Path, kind: str) -> None:
    diagnosis = found(tmp_path, heads_of(SIZE // 3), kind)
    assert (diagnosis.signature, diagnosis.explained) == ("permuted-with-other-heads", 1), diagnosis
    assert f"permuted as heads of {SIZE // 3} rows instead of {SIZE}" in diagnosis.sentence


def each(kind: str, change: Callable[[np.ndarray], np.ndarray]) -> Callable[[Arrays], Arrays]:
    return lambda right: {
        name: np.ascontiguousarray(change(array)) for name, array in right.items() if f".{kind}." in name
    }


@pytest.mark.parametrize(
    ("change", "name"),
    [
        (each(Q, lambda w: w.reshape(-1, 2, w.shape[1])[:, ::-1].reshape(w.shape)), "pairs-exchanged"),
        (each("attention.wo", lambda w: np.concatenate(np.split(w, 2, axis=1)).reshape(w.shape)), "shards-joined"),
        (
            each("feed_forward.w1", lambda w: np.concatenate(np.split(w, 4), axis=1).reshape(w.shape)),
            "shards-joined",
        ),
        (
            each("feed_forward.w1", lambda w: w / np.linalg.norm(w, axis=1, keepdims=True)),
            "rows-normalized",
        ),
        (each("attention_norm", np.square), "squares"),
        (each("attention_norm", np.sqrt), "square-roots"),
        (each("feed_forward.w1", np.abs), "magnitudes"),
        (each("feed_forward.w1", lambda w: w[np.random.default_rng(0).permutation(len(w))]), "rows-reordered"),
    ],
)
def test_orders_and_values_get_their_names_in_every_layer(
    tmp_path: Path, change: Callable[[Arrays], Arrays], name: str
) -> None:
    diagnosis = found(tmp_path, change, "v1-fp32")
    assert (diagnosis.signature, diagnosis.explained) == (name, 1), diagnosis
