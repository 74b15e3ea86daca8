"""Values that were displaced before they were quantized are found at any distance."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from helpers.mistake_files import diagnosed, written
from helpers.models import arrays, config

from verify.diagnosis.result import Diagnosis

MODEL = config()
RIGHT = arrays(MODEL)
NAME = "layers.1.feed_forward.w1.weight"


def of(directory: Path, wrong: np.ndarray) -> Diagnosis:
    mine = {**RIGHT, NAME: np.ascontiguousarray(wrong, np.float32).reshape(RIGHT[NAME].shape)}
    found = diagnosed(written(directory / "x.bin", MODEL, mine, "v2"), MODEL, RIGHT)
    assert found is not None
    return found


@pytest.mark.parametrize(
    ("by", "text"), [(1, "one place too late"), (3, "3 places too late"), (-53, "53 places too early")]
)
def test_a_displacement_is_named_with_its_distance(tmp_path: Path, by: int, text: str) -> None:
    flat = np.roll(RIGHT[NAME].ravel(), by)
    flat[:by] = flat[:by] if by < 0 else 0.25  # what comes in is the roll's own, or others
    found = of(tmp_path, flat)
    assert (found.signature, found.explained) == ("values-displaced", 1)
    assert found.sentence.endswith(f"the source's values {text}, as if read from a wrong offset")


def test_values_that_are_displaced_from_the_middle_on_have_no_name(tmp_path: Path) -> None:
    flat = RIGHT[NAME].ravel()
    half = len(flat) // 2
    assert of(tmp_path, np.concatenate([flat[:half], np.roll(flat[half:], 3)])).signature != "values-displaced"


def test_displaced_values_with_noise_have_no_name(tmp_path: Path) -> None:
    flat = np.roll(RIGHT[NAME].ravel(), 3)
    found = of(tmp_path, flat + np.random.default_rng(0).normal(size=flat.shape) * 0.1)
    assert found.explained == 0
