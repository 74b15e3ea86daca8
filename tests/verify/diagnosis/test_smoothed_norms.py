"""Factors that left a norm, and reached only some of its matrices, are named; other factors are not."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from helpers.mistake_files import diagnosed, written
from helpers.models import Arrays, arrays, config

MODEL = config()
RIGHT = arrays(MODEL)
FACTORS = np.random.default_rng(0).uniform(0.5, 2, MODEL.dim).astype(np.float32)


def smoothed(norm: str, *matrices: str, layers: int = MODEL.n_layers) -> Arrays:
    """The weights with factors out of a norm and in these matrices."""
    mine = dict(RIGHT)
    for layer in range(layers):
        mine[f"layers.{layer}.{norm}.weight"] = RIGHT[f"layers.{layer}.{norm}.weight"] / FACTORS
        for matrix in matrices:
            mine[f"layers.{layer}.{matrix}.weight"] = RIGHT[f"layers.{layer}.{matrix}.weight"] * FACTORS
    return mine


@pytest.mark.parametrize("kind", ["v0", "v3-fp32", "v3-bf16"])
@pytest.mark.parametrize(
    ("norm", "matrices", "text"),
    [
        ("ffn_norm", ("feed_forward.w1",), "taken out of ffn_norm: they are in w1, but not in w3"),
        ("attention_norm", ("attention.wq", "attention.wk"), "attention_norm: they are in wq and wk, but not in wv"),
    ],
)
def test_a_matrix_without_the_factors_is_named(
    tmp_path: Path, kind: str, norm: str, matrices: tuple[str, ...], text: str
) -> None:
    found = diagnosed(written(tmp_path / "x.bin", MODEL, smoothed(norm, *matrices), kind), MODEL, RIGHT)
    assert found is not None
    assert (found.signature, found.explained) == ("smoothed", 1)
    assert text in found.sentence


@pytest.mark.parametrize(
    "mine",
    [
        # nothing is missing
        smoothed("ffn_norm", "feed_forward.w1", "feed_forward.w3"),
        # only the norm
        smoothed("ffn_norm"),
        # factors of another norm
        {**smoothed("ffn_norm"), "layers.0.feed_forward.w1.weight": RIGHT["layers.0.feed_forward.w1.weight"] * 2},
        # the norm is right
        {**RIGHT, "layers.0.feed_forward.w1.weight": RIGHT["layers.0.feed_forward.w1.weight"] * FACTORS},
    ],
    ids=["all", "none", "another", "norm"],
)
def test_neighbours_are_named_otherwise(tmp_path: Path, mine: Arrays) -> None:
    found = diagnosed(written(tmp_path / "x.bin", MODEL, mine, "v0"), MODEL, RIGHT)
    assert found is not None
    assert found.signature != "smoothed"
