"""Tensors that are each multiplied by a factor of their own are named together."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from helpers.mistake_files import diagnosed, written
from helpers.models import Arrays, arrays, config

MODEL = config(n_layers=4)
RIGHT = arrays(MODEL)


def by_layer(power: int) -> Arrays:
    mine = dict(RIGHT)
    for name in [name for name in RIGHT if ".wo." in name or ".w2." in name]:
        mine[name] = RIGHT[name] / np.float32((1 + int(name.split(".")[1])) ** power)
    return mine


@pytest.mark.parametrize("kind", ["v0", "v2", "v3-bf16"])
def test_a_factor_of_the_layer_is_named(tmp_path: Path, kind: str) -> None:
    found = diagnosed(written(tmp_path / "x.bin", MODEL, by_layer(1), kind), MODEL, RIGHT)
    assert found is not None
    assert (found.signature, found.explained, len(found.tensors)) == ("tensors-scaled", 1, 6)
    assert "0.5 in layers.1.attention.wo.weight" in found.sentence
    assert found.sentence.endswith(", ...")


def test_one_factor_keeps_its_name(tmp_path: Path) -> None:
    mine = {name: array * np.float32(0.5) for name, array in RIGHT.items()}
    found = diagnosed(written(tmp_path / "x.bin", MODEL, mine, "v0"), MODEL, RIGHT)
    assert found is not None
    assert found.signature == "scaled"


def test_factors_with_noise_have_no_name(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    mine = dict(RIGHT) | {
        name: w * (1 + np.float32(1e-3) * rng.random(w.shape, np.float32))
        for name, w in by_layer(1).items()
        if ".wo." in name
    }
    found = diagnosed(written(tmp_path / "x.bin", MODEL, mine, "v0"), MODEL, RIGHT)
    assert found is not None
    assert found.explained == 0
