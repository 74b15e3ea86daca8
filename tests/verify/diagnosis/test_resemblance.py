"""What no mistake explains is measured: another model only by almost all of its matrices, and no cause is guessed."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
from helpers.mistake_files import comparison, diagnosed, written
from helpers.mistake_tables import SMALL, STORED, healthy
from helpers.models import Arrays, arrays

from verify.diagnosis.resemblance import last_resort, resemblance
from verify.diagnosis.result import Diagnosis

MODEL, NAME = SMALL[0], "layers.1.feed_forward.w1.weight"
RIGHT = healthy(0, MODEL)
OTHER = arrays(MODEL, seed=9)


def of(directory: Path, wrong: Arrays, kind: str = "v0", right: Arrays = RIGHT) -> Diagnosis:
    found = diagnosed(written(directory / "x.bin", MODEL, right | wrong, kind), MODEL, right)
    assert found is not None
    assert found.explained == (found.signature in ("signs-differ", "values-reordered", "rounded-to-levels"))
    return found


@pytest.mark.parametrize("kind", STORED)
def test_another_checkpoint_is_suggested_by_all_matrices(tmp_path: Path, kind: str) -> None:
    right = arrays(MODEL, seed=3)
    found = of(tmp_path, OTHER, kind, right)
    assert found.signature == "another-checkpoint"
    assert set(found.tensors) == set(right)
    assert found.sentence.startswith(
        "all tensors of layers 0-1, tok_embeddings.weight, norm.weight and output.weight "
    )
    assert found.sentence.endswith(", as in another checkpoint of this shape")


def test_one_tensor_s_numbers_say_nothing_about_where_they_are_from(tmp_path: Path) -> None:
    found = of(tmp_path, {NAME: OTHER[NAME]})
    assert found.signature == "unrelated-numbers"
    assert found.sentence.startswith(f"{NAME} holds numbers unrelated to the source's (correlation ")
    assert "loaded" not in found.sentence


def test_a_model_with_one_right_layer_is_no_other_checkpoint(tmp_path: Path) -> None:
    wrong = {name: array for name, array in OTHER.items() if not name.startswith("layers.0.")}
    assert of(tmp_path, wrong).signature == "unrelated-numbers"


@pytest.mark.parametrize("kind", STORED)
@pytest.mark.parametrize("size", [0.06, 0.3])
def test_a_fine_tune_is_suggested_by_all_matrices(tmp_path: Path, kind: str, size: float) -> None:
    right, rng = arrays(MODEL, seed=3), np.random.default_rng(1)
    wrong = {
        name: (w + size * (w.std() if w.ndim > 1 else 0.1) * rng.standard_normal(w.shape)).astype(np.float32)
        for name, w in right.items()
    }
    found = of(tmp_path, wrong, kind, right)
    assert found.signature == "another-version"
    assert found.sentence.endswith(", as in a fine-tune or another version of the same model")


@pytest.mark.parametrize("kind", STORED)
def test_matrices_of_few_bits_are_no_fine_tune(tmp_path: Path, kind: str) -> None:
    """Weights that were once 4 bits each have fifteen levels in a row."""
    right = arrays(MODEL, seed=3)
    wrong = {}
    for name, w in right.items():
        step = np.abs(w).max(axis=-1, keepdims=True) / 7
        wrong[name] = w if w.ndim == 1 else (np.round(w / step) * step).astype(np.float32)
    found = of(tmp_path, wrong, kind, right)
    assert found.signature == "rounded-to-levels"
    assert "4 bits with one scale for each row" in found.sentence


@pytest.mark.parametrize("kind", STORED)
def test_roundings_everywhere_are_no_fine_tune(tmp_path: Path, kind: str) -> None:
    right, rng = arrays(MODEL, seed=3), np.random.default_rng(1)
    step = {"v3-fp16": 2**-11, "v3-bf16": 2**-8}.get(kind, 2**-8 if kind in ("v1", "v2", "v3-q8_0") else 2**-23)
    wrong = {name: (w * (1 + step * rng.standard_normal(w.shape))).astype(np.float32) for name, w in right.items()}
    assert of(tmp_path, wrong, kind, right).signature == "no-known-mistake"


def test_signs_and_orders_are_certain_even_without_a_mistake(tmp_path: Path) -> None:
    rng = np.random.default_rng(4)
    signs = RIGHT[NAME] * rng.choice(np.array([-1, 1], np.float32), RIGHT[NAME].shape)
    found = of(tmp_path, {NAME: signs})
    assert found.signature == "signs-differ"
    assert found.sentence.startswith(f"{NAME} holds the right magnitudes, ")
    mixed = rng.permutation(RIGHT[NAME].ravel()).reshape(RIGHT[NAME].shape)
    found = of(tmp_path, {NAME: mixed})
    assert found.signature == "values-reordered"
    assert found.sentence == f"{NAME} holds the source's values in another order, which no known mistake makes"


def test_the_facts_are_named_for_every_tensor(tmp_path: Path) -> None:
    rng = np.random.default_rng(5)
    wrong = {}
    for layer in (0, 1):
        name = NAME.replace("1", str(layer), 1)
        wrong[name] = (RIGHT[name] * (1 + 0.05 * rng.standard_normal(RIGHT[name].shape))).astype(np.float32)
    found = of(tmp_path, wrong)
    assert found.signature == "no-known-mistake"
    assert found.tensors == tuple(wrong)
    assert found.sentence.startswith("feed_forward.w1.weight of layers 0-1 hold numbers that no known mistake makes ")
    assert re.search(r"\(correlation 0\.99\d+ to 0\.99\d+(, .*)?\)$", found.sentence)


@pytest.mark.parametrize("kind", ["v0", "v2"])
@pytest.mark.parametrize("value", [0.25, -3.0])
def test_constant_numbers_cannot_be_compared(tmp_path: Path, value: float, kind: str) -> None:
    wrong = np.full_like(RIGHT[NAME], value)
    path = written(tmp_path / "x.bin", MODEL, {**RIGHT, NAME: wrong}, kind)
    with comparison(path, MODEL, RIGHT) as compared:
        assert np.isnan(resemblance(compared, NAME).correlation)
        assert last_resort(compared, [NAME]).signature == "not-comparable"
    # but every bit of them is explained
    found = diagnosed(path, MODEL, RIGHT)
    assert found is not None
    assert (found.signature, found.explained, found.tensors) == ("constant", 1, (NAME,))
    assert f"{value:.4g} everywhere" in found.sentence
