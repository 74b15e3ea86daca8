"""One part of Q8_0 that is wrong beside a right one is named by how it is wrong."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from helpers import mistake_seeds as m
from helpers.mistake_files import diagnosed, written
from helpers.models import arrays, config

from verify.diagnosis.result import Diagnosis

MODEL = config()
RIGHT = arrays(MODEL)
NAMES = ["layers.0.feed_forward.w1.weight", "layers.1.feed_forward.w1.weight"]


def of(directory: Path, change: m.InParts) -> Diagnosis:
    path = written(directory / "x.bin", MODEL, RIGHT, "v2")
    m.patch_parts(path, NAMES, RIGHT, change)
    found = diagnosed(path, MODEL, RIGHT)
    assert found is not None
    return found


def at_random(w: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    scale = m.scale_of(w)
    return np.floor(w / scale + np.random.default_rng(w.size).random(w.shape)).clip(-127, 127), scale


@pytest.mark.parametrize(
    ("change", "name", "text"),
    [
        (m.to_parts("scale", change=np.ones_like), "scales-differ", "scales that are 1 everywhere"),
        (m.to_parts("scale", change=np.negative), "scales-differ", "scales that are -1 times the right ones"),
        (
            m.to_parts("scale", change=lambda s: s / np.float32(127.03)),
            "scales-differ",
            "are 0.00787216 times the right",
        ),
        (
            m.to_parts("scale", change=lambda s: np.full_like(s, s.flat[0])),
            "scales-differ",
            "scales that are one number for all groups of a tensor",
        ),
        (
            m.to_parts("scale", change=lambda s: (s.view(np.uint32) & np.uint32(0x7F800000)).view(np.float32)),
            "scales-differ",
            "scales that are 0.5",
        ),
        (m.to_parts("int8", change=lambda q: q.clip(-63, 63)), "int8-clipped", "int8 cut to -63 to 63"),
        (
            m.to_parts("int8", change=lambda q: np.where(q < 0, (-q) | np.int8(-128), q)),
            "int8-sign-and-magnitude",
            "sign and magnitude instead of two's complement",
        ),
        (m.requantized(at_random), "int8-rounded-otherwise", "% of the int8 one off"),
    ],
)
def test_a_part_is_named_by_how_it_is_wrong(tmp_path: Path, change: m.InParts, name: str, text: str) -> None:
    found = of(tmp_path, change)
    assert (found.signature, found.explained) == (name, 1), found
    assert text in found.sentence


def test_few_other_scales_are_damage(tmp_path: Path) -> None:
    def few(parts: dict[str, np.ndarray], _: np.ndarray, __: int) -> None:
        parts["scale"][0, :2] *= 3

    assert of(tmp_path, few).signature == "few-elements"


def test_int8_that_are_two_off_have_no_name(tmp_path: Path) -> None:
    def two_off(q: np.ndarray) -> np.ndarray:
        return (q + np.random.default_rng(0).integers(-2, 3, q.shape)).clip(-128, 127).astype(np.int8)

    assert of(tmp_path, m.to_parts("int8", change=two_off)).explained == 0


def test_both_parts_wrong_have_no_name(tmp_path: Path) -> None:
    def both(parts: dict[str, np.ndarray], _: np.ndarray, __: int) -> None:
        parts["scale"] *= np.float32(9)
        parts["int8"] = (parts["int8"] // 3).astype(np.int8)

    assert of(tmp_path, both).explained == 0
