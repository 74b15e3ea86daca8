"""A damaged tensor is described by its differing elements, rows or columns."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from helpers.mistake_files import comparison, written
from helpers.mistake_tables import SMALL, healthy

from verify.diagnosis.damage import damage

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


def test_zeros_among_other_values_are_no_cut_and_no_tail(tmp_path: Path) -> None:
    wrong = np.where(np.abs(RIGHT[NAME]) < np.quantile(np.abs(RIGHT[NAME]), 0.9), np.float32(0), RIGHT[NAME])
    wrong[-1, -1] = 0
    assert seen(tmp_path, wrong) is None


@pytest.mark.parametrize(
    ("rows", "columns", "text"),
    [
        (slice(3, 6), slice(None), "the right values except in rows 3-5"),
        (slice(4, 5), slice(None), "the right values except in row 4"),
        (slice(None), slice(1, 4), "the right values except in columns 1-3"),
    ],
)
def test_a_few_wrong_rows_or_columns_are_named(tmp_path: Path, rows: slice, columns: slice, text: str) -> None:
    wrong = RIGHT[NAME].copy()
    wrong[rows, columns] = wrong[rows, columns] * 3 + 1
    assert seen(tmp_path, wrong) == ("few-rows", text)
