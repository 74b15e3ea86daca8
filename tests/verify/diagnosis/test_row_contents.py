"""Rows that alone are wrong are described by what they hold."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from helpers.mistake_files import diagnosed, written
from helpers.models import arrays, config

MODEL = config(vocab_size=61)
RIGHT = arrays(MODEL)
NAME = "tok_embeddings.weight"
TABLE = RIGHT[NAME]
ROWS = [3, 17, 40]


@pytest.mark.parametrize("kind", ["v0", "v2"])
@pytest.mark.parametrize(
    ("row", "text"),
    [
        (np.zeros_like(TABLE[0]), ", which hold zeros"),
        (TABLE[5], ", which hold a copy of row 5"),
        (np.delete(TABLE, ROWS, axis=0).mean(axis=0), ", which hold the mean of the other rows"),
        (TABLE[5] * 2, ""),
    ],
    ids=["zeros", "a copy", "the mean", "twice a row"],
)
def test_wrong_rows_are_described(tmp_path: Path, row: np.ndarray, text: str, kind: str) -> None:
    wrong = TABLE.copy()
    wrong[ROWS] = row
    found = diagnosed(written(tmp_path / "x.bin", MODEL, {**RIGHT, NAME: wrong}, kind), MODEL, RIGHT)
    assert found is not None
    assert found.sentence.endswith(f"the right values except in rows 3, 17 and 40{text}")
