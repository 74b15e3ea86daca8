"""Bytes in the wrong place are found, with the distance and what has its size."""

from __future__ import annotations

from pathlib import Path

import pytest
from helpers import mistake_seeds as m
from helpers.mistake_files import comparison, written
from helpers.mistake_tables import SMALL, healthy

from verify.diagnosis.displaced_bytes import diagnose_displaced
from verify.diagnosis.result import Diagnosis

MODEL = SMALL[0]
RIGHT = healthy(0, MODEL)


def displaced(path: Path) -> Diagnosis | None:
    with comparison(path, MODEL, RIGHT) as compared:
        names = [name for name in RIGHT if compared.first_difference(name) is not None]
        return diagnose_displaced(compared, names)


@pytest.mark.parametrize(
    ("by", "text"),
    [
        (1, "the right bytes 1 byte too late, as after a header of 257 bytes instead of 256"),
        (-4, "the right bytes 4 bytes too early, as after a header of 252 bytes instead of 256"),
    ],
)
def test_a_header_of_another_size_is_named(tmp_path: Path, by: int, text: str) -> None:
    path = written(tmp_path / "x.bin", MODEL, RIGHT, "v1-fp32")
    m.bytes_moved(path, 256, by)
    found = displaced(path)
    assert found is not None
    assert found.signature == "bytes-shifted"
    assert text in found.sentence


def test_the_order_of_the_other_version_is_named(tmp_path: Path) -> None:
    path = written(tmp_path / "x.bin", MODEL, RIGHT, "v1")
    content = bytearray(path.read_bytes())
    content[4] = 2
    path.write_bytes(content)
    found = displaced(path)
    assert found is not None
    assert (found.signature, found.explained) == ("v1-v2-mixed-up", 1.0)
    assert found.sentence.endswith("the right bytes in the order of v1 instead of v2")


def test_bytes_that_are_nowhere_have_no_diagnosis(tmp_path: Path) -> None:
    wrong = {name: array * 3 for name, array in RIGHT.items()}
    assert displaced(written(tmp_path / "x.bin", MODEL, wrong, "v0")) is None
