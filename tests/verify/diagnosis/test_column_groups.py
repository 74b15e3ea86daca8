"""Q8_0 by groups of columns, from other peaks and with other roundings, gets the name of each."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from helpers import mistake_seeds as m
from helpers.mistake_files import diagnosed, written
from helpers.mistake_tables import GROUP, healthy
from helpers.models import config

from verify.diagnosis import Diagnosis

# every height is a multiple of the group's
MODEL = config(dim=48, hidden_dim=80, n_layers=2, n_heads=4, n_kv_heads=2, vocab_size=40)
RIGHT = healthy(0, MODEL)
MATRICES = [name for name, array in RIGHT.items() if array.ndim == 2]


def found(directory: Path, change: m.InParts) -> Diagnosis:
    path = written(directory / "x.bin", MODEL, RIGHT, "v2")
    m.patch_parts(path, MATRICES, RIGHT, change)
    diagnosis = diagnosed(path, MODEL, RIGHT)
    assert diagnosis is not None
    return diagnosis


def by_columns(turned: Callable[[np.ndarray], np.ndarray]) -> m.InParts:
    """turned: scales of the transpose (columns, groups) -> their order in the file."""

    def apply(parts: dict[str, np.ndarray], w: np.ndarray, group_size: int) -> None:
        groups = np.ascontiguousarray(w.T).reshape(-1, group_size)
        scale = m.scale_of(groups)
        parts["int8"] = np.ascontiguousarray(np.rint(groups / scale).reshape(w.T.shape).T.astype(np.int8))
        by_place = scale.astype(np.float32).reshape(len(w.T), -1)
        parts["scale"] = np.ascontiguousarray(turned(by_place)).reshape(parts["scale"].shape)

    return apply


def largest(groups: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    scale = groups.max(axis=1, keepdims=True) / np.float32(127)
    return np.clip(np.rint(groups / np.where(scale == 0, 1, scale)), -127, 127), scale


def divided(divisor: float) -> m.InParts:
    def recipe(groups: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        scale = np.abs(groups).max(axis=1, keepdims=True) / np.float32(divisor)
        return np.clip(np.rint(groups / scale), -127, 127), scale

    return m.requantized(recipe)


@pytest.mark.parametrize(
    ("change", "name", "text"),
    [
        (by_columns(lambda scale: scale), "groups-of-columns", "groups that run down columns"),
        (by_columns(lambda scale: scale.T), "groups-of-columns", "groups that run down columns"),
        (m.to_parts("int8", change=lambda q: q.T.reshape(q.shape)), "int8-transposed", "the matrix transposed"),
        (m.requantized(largest), "signed-maximum", "from the largest value of each group"),
        (divided(127.5), "divided-by-another", "divided by 127.5 instead of 127"),
        (divided(7), "divided-by-another", "divided by 7 instead of 127"),
        (
            m.requantized(lambda g: (np.ceil(g / m.scale_of(g)).clip(max=127), m.scale_of(g))),
            "rounded-up",
            "rounded up (ceil)",
        ),
        (
            m.requantized(lambda g: (np.floor(g / m.scale_of(g)).clip(-127), m.scale_of(g))),
            "rounded-down",
            "rounded down (floor)",
        ),
        (m.to_parts("scale", change=np.square), "scales-squared", "the square of each scale"),
        (
            m.to_parts("int8", change=lambda q: q.reshape(-1, 2)[:, ::-1].reshape(q.shape)),
            "rows-reordered",
            "the source's columns in another order: column 0, for example, holds its column 1",
        ),
        (
            m.to_parts("int8", change=lambda q: np.stack([np.roll(row, -n) for n, row in enumerate(q)])),
            "int8-reordered",
            "the right int8 of each tensor in another order",
        ),
        (
            m.to_parts("scale", change=lambda s: s.T.reshape(s.shape)),
            "scales-reordered",
            "the right scales of each tensor in another order",
        ),
    ],
)
def test_another_recipe_gets_its_name(tmp_path: Path, change: m.InParts, name: str, text: str) -> None:
    diagnosis = found(tmp_path, change)
    assert (diagnosis.signature, diagnosis.explained) == (name, 1), diagnosis
    assert text in diagnosis.sentence


@pytest.mark.parametrize(
    "change",
    [
        by_columns(lambda scale: scale[::-1]),
        m.to_parts("int8", change=lambda q: np.random.default_rng(0).integers(-127, 128, q.shape).astype(np.int8)),
    ],
    ids=["columns in reverse", "random int8"],
)
def test_neighbours_have_no_name(tmp_path: Path, change: m.InParts) -> None:
    diagnosis = found(tmp_path, change)
    assert diagnosis.explained == 0, diagnosis
    # the scales are the source's, or most numbers are related to it
    assert diagnosis.signature in ("no-known-mistake", "unrelated-numbers")


def test_scales_of_no_known_recipe_are_said_to_differ(tmp_path: Path) -> None:
    diagnosis = found(
        tmp_path, m.requantized(lambda g: (np.rint(g / m.scale_of(g)), m.scale_of(g) ** np.float32(1.5)))
    )
    assert diagnosis.signature == "scales-differ"
    assert diagnosis.sentence.endswith("hold the right int8, but scales that are 0.0202 to 1 times the right ones")


def test_a_group_size_that_divides_no_height_leaves_other_names() -> None:
    assert all(RIGHT[name].shape[0] % GROUP == 0 for name in MATRICES)
