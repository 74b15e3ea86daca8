"""Factors and offsets: named where they have a name, and never fitted to what is no line."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from helpers.mistake_files import comparison, diagnosed, hyperparameters, written
from helpers.mistake_tables import MODELS, healthy

from verify.diagnosis.affine_fits import fitted_line, lines

MODEL = MODELS["grouped"]
RIGHT = healthy(0, MODEL)
NAME = "layers.1.feed_forward.w1.weight"


def sentence(directory: Path, change: Callable[[np.ndarray], np.ndarray], kind: str = "v0") -> tuple[str, str]:
    wrong = {**RIGHT, NAME: np.ascontiguousarray(change(RIGHT[NAME]), np.float32)}
    found = diagnosed(written(directory / "x.bin", MODEL, wrong, kind), MODEL, RIGHT)
    assert found is not None
    return found.signature, found.sentence.removeprefix(NAME)


@pytest.mark.parametrize("kind", ["v0", "v3-fp16", "v3-bf16", "v2"])
@pytest.mark.parametrize(
    ("factor", "text"),
    [
        (np.float32(np.sqrt(72)), "8.48528, which is sqrt(dim)"),
        (1 / np.float32(np.sqrt(12)), "0.288675, which is 1 / sqrt(head_dim)"),
        (np.float32(1 / np.log(2)), "1.4427, which is 1 / log(2)"),
        (np.float32(4), "4"),
        (np.float32(0.999), "0.999"),
        (np.float32(0.1875), "0.1875"),
    ],
)
def test_a_factor_is_named(tmp_path: Path, factor: np.float32, text: str, kind: str) -> None:
    found = sentence(tmp_path, lambda w: w * factor, kind)
    assert found == ("scaled", f" holds the source's values multiplied by {text}")


def test_a_factor_without_a_name_is_given_with_its_digits_where_bits_have_them(tmp_path: Path) -> None:
    name, text = sentence(tmp_path, lambda w: (w.astype(float) * 1.23456789).astype(np.float32))
    assert (name, text) == ("scaled", " holds the source's values multiplied by 1.23457")


@pytest.mark.parametrize(
    ("change", "name", "text"),
    [
        (lambda w: w + np.float32(1), "offset", "values plus 1"),
        (lambda w: w - np.float32(0.25), "offset", "values minus 0.25"),
        (
            lambda w: w * np.float32(3) - np.float32(0.5),
            "scaled-and-offset",
            "values multiplied by 3, then minus 0.5",
        ),
    ],
)
def test_an_offset_is_named(tmp_path: Path, change: Callable[[np.ndarray], np.ndarray], name: str, text: str) -> None:
    assert sentence(tmp_path, change) == (name, f" holds the source's {text}")


def test_each_row_or_column_may_have_a_factor_of_its_own(tmp_path: Path) -> None:
    rows = np.linspace(0.5, 2, len(RIGHT[NAME])).astype(np.float32)[:, None]
    columns = np.linspace(3, 4, RIGHT[NAME].shape[1]).astype(np.float32)
    assert sentence(tmp_path, lambda w: w * rows) == (
        "rows-scaled",
        f" holds the source's rows, each multiplied by a factor of its own, 0.5 to 2 in {NAME}",
    )
    assert sentence(tmp_path, lambda w: w * columns) == (
        "rows-scaled",
        f" holds the source's columns, each multiplied by a factor of its own, 3 to 4 in {NAME}",
    )


def test_norms_folded_into_all_matrices_behind_them_are_one_mistake(tmp_path: Path) -> None:
    wrong = dict(RIGHT)
    for kind, norm in (("attention.wq", "attention_norm"), ("feed_forward.w1", "ffn_norm")):
        for layer in ("layers.0.", "layers.1."):
            wrong[f"{layer}{kind}.weight"] = RIGHT[f"{layer}{kind}.weight"] * RIGHT[f"{layer}{norm}.weight"]
    found = diagnosed(written(tmp_path / "x.bin", MODEL, wrong, "v0"), MODEL, RIGHT)
    assert found is not None
    assert (found.signature, found.explained) == ("scaled-by-norm", 1)
    assert found.sentence == (
        "attention.wq.weight and feed_forward.w1.weight of layers 0-1 hold the source's columns multiplied by the "
        "weights of attention_norm and ffn_norm, as if the norms were folded into them"
    )


@pytest.mark.parametrize("kind", ["v0", "v3-bf16", "v3-fp16", "v2"])
@pytest.mark.parametrize("size", [1e-7, 1e-3, 0.1])
def test_noise_is_no_factor(tmp_path: Path, kind: str, size: float) -> None:
    rng = np.random.default_rng(1)
    noise = rng.normal(size=RIGHT[NAME].shape) * size * np.abs(RIGHT[NAME])
    wrong = {**RIGHT, NAME: (RIGHT[NAME] + noise).astype(np.float32)}
    found = diagnosed(written(tmp_path / "x.bin", MODEL, wrong, kind), MODEL, RIGHT)
    # too small for any bit of a short storage, or unknown
    assert found is None or found.signature in ("no-known-mistake", "few-elements", "few-rows"), found
    assert found is None or found.signature == "no-known-mistake" or size < 1e-3, found


def test_a_line_is_fitted_by_least_squares_and_refused_where_there_is_none(tmp_path: Path) -> None:
    wrong = {**RIGHT, NAME: RIGHT[NAME] * np.float32(1.5) + np.float32(2)}
    with comparison(written(tmp_path / "x.bin", MODEL, wrong, "v0"), MODEL, RIGHT) as compared:
        line = fitted_line(compared, NAME)
        assert line is not None
        assert (line.factor, line.offset) == pytest.approx((1.5, 2), rel=1e-6)
        assert line.scatter < 1e-4
    wrong[NAME] = np.full_like(RIGHT[NAME], 2)
    with comparison(written(tmp_path / "x.bin", MODEL, wrong, "v0"), MODEL, RIGHT) as compared:
        assert fitted_line(compared, NAME) is None
        assert list(lines(compared, NAME)) == []


def test_a_factor_with_several_names_is_given_all_of_them(tmp_path: Path) -> None:
    assert hyperparameters(MODELS["square"]).head_dim == 12
    model = MODELS["square"]
    right = healthy(0, model)
    wrong = {**right, NAME: right[NAME] / np.float32(np.sqrt(6))}
    found = diagnosed(written(tmp_path / "x.bin", model, wrong, "v0"), model, right)
    assert found is not None
    assert found.sentence.endswith("multiplied by 0.408248, which is 1 / sqrt(2 * n_layers)")
