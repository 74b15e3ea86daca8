"""A part of the file that was never written is one mistake, however many tensors it crosses."""

from __future__ import annotations

from pathlib import Path

import pytest
from helpers.mistake_files import diagnosed, written
from helpers.mistake_tables import STORED
from helpers.models import arrays, config

import reader_c
from verify.diagnosis import Diagnosis

MODEL = config()
RIGHT = arrays(MODEL)


def border(path: Path) -> int:
    """Where wo of layer 1 begins, in the middle of a file."""
    with reader_c.open(path) as model:
        return min(span.offset for span in model.spans("layers.1.attention.wo.weight"))


def with_hole(
    directory: Path, kind: str, before: int, after: int, fill: bytes = b"\0"
) -> tuple[Diagnosis | None, int]:
    """The diagnosis of a file in which bytes around a border between tensors are others, and the first of them."""
    path = written(directory / "x.bin", MODEL, RIGHT, kind)
    content, at = bytearray(path.read_bytes()), border(path)
    content[at - before : at + after] = fill * (before + after)
    path.write_bytes(content)
    return diagnosed(path, MODEL, RIGHT), at - before


@pytest.mark.parametrize("kind", STORED)
def test_a_hole_across_two_tensors_is_one_run(tmp_path: Path, kind: str) -> None:
    found, first = with_hole(tmp_path, kind, 200, 312)
    assert found is not None
    assert (found.signature, found.explained) == ("zero-run", 1)
    assert f"from byte {first} of the file on, as if that part was never written" in found.sentence
    assert len(found.tensors) == 2


@pytest.mark.parametrize(("before", "after", "fill"), [(200, 312, b"\1"), (8, 8, b"\0")])
def test_other_bytes_and_a_few_zeros_are_no_hole(tmp_path: Path, before: int, after: int, fill: bytes) -> None:
    found, _ = with_hole(tmp_path, "v0", before, after, fill)
    assert found is not None
    assert found.signature != "zero-run"
