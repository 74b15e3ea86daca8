"""The diagnosis names a model whose weights were never loaded, and does not call it another checkpoint."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from helpers.mistake_files import diagnosed, written
from helpers.models import Arrays, arrays, config

from verify.diagnosis.result import Diagnosis

MODEL = config(qkv_bias=True)
RIGHT, OTHER = arrays(MODEL), arrays(MODEL, seed=9)


def started(name: str) -> np.ndarray:
    if "norm" in name:
        return np.ones_like(RIGHT[name])
    return np.zeros_like(RIGHT[name]) if "bias" in name else OTHER[name] / np.float32(50)


def of(directory: Path, wrong: Callable[[str], np.ndarray], kind: str = "v3-fp32", only: str = "") -> Diagnosis:
    mine: Arrays = {name: wrong(name) if name.startswith(only) else RIGHT[name] for name in RIGHT}
    found = diagnosed(written(directory / "x.bin", MODEL, mine, kind), MODEL, RIGHT)
    assert found is not None
    return found


@pytest.mark.parametrize(("kind", "only"), [("v3-fp32", ""), ("v3-q8_0", "layers.1.")])
def test_norms_of_ones_beside_unrelated_matrices_were_never_loaded(tmp_path: Path, kind: str, only: str) -> None:
    found = of(tmp_path, started, kind, only)
    assert found.signature == "never-loaded"
    assert 0 < found.explained < 1
    assert set(found.tensors) == {name for name in RIGHT if name.startswith(only)}
    assert "ones in norms and numbers unrelated to the source's in matrices" in found.sentence


def test_a_layer_that_was_only_made_is_named(tmp_path: Path) -> None:
    found = of(tmp_path, lambda name: started(name) * np.float32("norm" in name), only="layers.1.")
    assert (found.signature, "zeros in matrices" in found.sentence) == ("never-loaded", True)


def test_ones_beside_right_matrices_are_ones(tmp_path: Path) -> None:
    found = of(tmp_path, lambda name: np.ones_like(RIGHT[name]) if "norm" in name else RIGHT[name])
    assert (found.signature, found.explained) == ("constant", 1)
    assert "1 everywhere, as if the values were never loaded" in found.sentence


@pytest.mark.parametrize("norm", [0.5, 0.0], ids=["halves", "zeros"])
def test_other_norms_beside_unrelated_matrices_have_another_name(tmp_path: Path, norm: float) -> None:
    def wrong(name: str) -> np.ndarray:
        return np.full_like(RIGHT[name], norm) if "norm" in name else started(name)

    assert of(tmp_path, wrong).signature != "never-loaded"


def test_ones_beside_one_matrix_that_resembles_the_source_have_another_name(tmp_path: Path) -> None:
    name = "layers.0.attention.wq.weight"
    found = of(tmp_path, lambda of: started(of) if of != name else RIGHT[name] + started(name))
    assert found.signature != "never-loaded"
