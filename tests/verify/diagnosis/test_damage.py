"""A damaged tensor is described by its differing elements, and any other by how far it resembles its source."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from helpers.mistake_files import comparison, written
from helpers.mistake_tables import SMALL, healthy

from verify.diagnosis.damage import damage, resemblance

MODEL, NAME = SMALL[0], "layers.1.feed_forward.w1.weight"
RIGHT = healthy(0, MODEL)


def with_elements(count: int) -> np.ndarray:
    wrong = RIGHT[NAME].copy()
    wrong[5, :count] *= np.float32(1.7)
    return wrong


def with_bit() -> np.ndarray:
    wrong = RIGHT[NAME].copy()
    wrong.view(np.uint32)[6, 2] ^= 1 << 9
    return wrong


def with_tail(columns: int) -> np.ndarray:
    wrong = RIGHT[NAME].copy()
    wrong[:, -columns:] = 0
    return wrong


def cut_short() -> np.ndarray:
    wrong = RIGHT[NAME].copy()
    wrong.reshape(-1)[300:] = 0
    return wrong


def seen(tmp_path: Path, wrong: np.ndarray) -> tuple[str, str] | None:
    path = written(tmp_path / "x.bin", MODEL, {**RIGHT, NAME: wrong}, "v0")
    with comparison(path, MODEL, RIGHT) as compared:
        found = damage(compared, NAME)
        return found and (found[0].name, found[1])


@pytest.mark.parametrize(
    ("wrong", "name", "text"),
    [
        (with_bit(), "bit-flipped", "the right values except one bit: bit 9 of fp32 [6, 2] is flipped"),
        (with_elements(1), "few-elements", "the right values except fp32 [5, 0]: bits 0x"),
        (with_elements(3), "few-elements", "the right values except 3 elements, the first of them fp32 [5, 0]"),
        (with_tail(1), "row-tails-zero", "zeros in the last column of each row"),
        (with_tail(3), "row-tails-zero", "zeros in the last 3 columns of each row"),
        (cut_short(), "cut-short", "the source's values up to one element, and zeros from there to the end"),
    ],
)
def test_damage_is_described(tmp_path: Path, wrong: np.ndarray, name: str, text: str) -> None:
    found = seen(tmp_path, wrong)
    assert found is not None
    assert found[0] == name
    assert found[1].startswith(text)


def test_many_wrong_elements_are_no_damage(tmp_path: Path) -> None:
    assert seen(tmp_path, RIGHT[NAME] * 2) is None


@pytest.mark.parametrize("kind", ["v0", "v2"])
@pytest.mark.parametrize(
    ("wrong", "name"),
    [
        (RIGHT[NAME] * np.float32(1.5) + np.float32(0.001), "no-known-mistake"),
        (np.random.default_rng(3).standard_normal(RIGHT[NAME].shape).astype(np.float32), "unrelated-numbers"),
        (np.full_like(RIGHT[NAME], 0.25), "not-comparable"),
    ],
)
def test_the_rest_is_told_by_its_correlation(tmp_path: Path, wrong: np.ndarray, name: str, kind: str) -> None:
    path = written(tmp_path / "x.bin", MODEL, {**RIGHT, NAME: wrong}, kind)
    with comparison(path, MODEL, RIGHT) as compared:
        mistake, text = resemblance(compared, NAME)
    assert mistake.name == name
    assert text.startswith("numbers ")
