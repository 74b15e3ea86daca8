"""Key and value heads that a file holds several times."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
from helpers.mistake_files import written
from helpers.models import arrays, config

import exporter
import reader_c
from verify.diagnosis import Diagnosis, diagnose_repeated_heads
from verify.testing import source_of

MODEL = config(dim=48, hidden_dim=40, n_heads=12, n_kv_heads=3, vocab_size=29)
RIGHT = arrays(MODEL)
KINDS = ("attention.wk.weight", "attention.wv.weight")
IN_A_ROW, IN_TURN = [0, 0, 1, 1, 2, 2], [0, 1, 2, 0, 1, 2]


def found(directory: Path, order: list[int], kind: str, layers: tuple[int, ...] = (0, 1)) -> Diagnosis | None:
    """The diagnosis of a file with these heads in some layers, and with other numbers in the rest."""
    wrong = arrays(dataclasses.replace(MODEL, n_kv_heads=len(order)), seed=5)
    for name in (f"layers.{layer}.{kind}" for layer in layers for kind in KINDS):
        heads = RIGHT[name].reshape(MODEL.n_kv_heads, MODEL.head_dim, MODEL.dim)
        wrong[name] = np.ascontiguousarray(heads[order].reshape(-1, MODEL.dim))
    model = dataclasses.replace(MODEL, n_kv_heads=len(order))
    path = written(directory / "x.bin", model, wrong, kind)
    with reader_c.open(path) as file:
        return diagnose_repeated_heads(file, source_of(exporter.Checkpoint.from_arrays(MODEL, RIGHT)))


@pytest.mark.parametrize("kind", ["v0", "v2", "v3-bf16"])
@pytest.mark.parametrize(("order", "text"), [(IN_A_ROW, "0, 0, 1, 1, ..."), (IN_TURN, "0, 1, 2, 0, ...")])
def test_repeated_heads_are_named_with_their_order(tmp_path: Path, order: list[int], text: str, kind: str) -> None:
    diagnosis = found(tmp_path, order, kind)
    assert diagnosis is not None
    assert (diagnosis.signature, diagnosis.explained) == ("heads-repeated", 1)
    assert diagnosis.sentence == (
        "attention.wk.weight and attention.wv.weight of layers 0-1 hold each of the source's 3 heads 2 times, in the "
        f"order {text}: n_kv_heads should be 3"
    )


def test_layers_with_other_numbers_are_counted_as_unexplained(tmp_path: Path) -> None:
    diagnosis = found(tmp_path, IN_TURN, "v0", layers=(1,))
    assert diagnosis is not None
    assert diagnosis.explained == 0.5
    assert diagnosis.sentence.endswith("; this leaves 2 of 4 differing tensors unexplained")


@pytest.mark.parametrize(
    ("order", "layers"),
    [(IN_TURN, ()), ([0, 0, 1, 2, 1, 2], (0, 1)), ([0, 1, 2, 0], (0, 1)), ([0, 1, 2], (0, 1))],
    ids=["other numbers", "another order", "no multiple", "as many heads"],
)
def test_nothing_else_is_called_repeated_heads(tmp_path: Path, order: list[int], layers: tuple[int, ...]) -> None:
    assert found(tmp_path, order, "v0", layers) is None
