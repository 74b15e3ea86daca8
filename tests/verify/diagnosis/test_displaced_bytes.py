"""Bytes in the wrong place are found, with the distance and what has its size."""

from __future__ import annotations

from pathlib import Path

import pytest
from helpers import mistake_seeds as m
from helpers.mistake_files import comparison, written
from helpers.mistake_tables import SMALL, healthy

import reader_c
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


NAME = "layers.1.attention.wq.weight"


def with_tensor_off(path: Path, kind: str, by: int, fill: bytes = b"") -> Path:
    """One tensor that was read `by` bytes on in the file, or with fill where it reaches beyond itself."""
    written(path, MODEL, RIGHT, kind)
    content = bytearray(path.read_bytes())
    with reader_c.open(path) as model:
        span = model.spans(NAME)[0]
    start, end = span.offset, span.offset + span.nbytes
    part = content[start + by : end + by]
    if fill:
        part = content[start + by : end] + fill * by if by > 0 else fill * -by + content[start : end + by]
    content[start:end] = part
    path.write_bytes(content)
    return path


@pytest.mark.parametrize("kind", ["v0", "v2", "v3-bf16"])
@pytest.mark.parametrize(("by", "text"), [(33, "33 bytes too early"), (-8, "8 bytes too late")])
def test_one_tensor_from_a_wrong_offset_is_named(tmp_path: Path, kind: str, by: int, text: str) -> None:
    found = displaced(with_tensor_off(tmp_path / "x.bin", kind, by))
    assert found is not None
    assert (found.signature, found.tensors, found.explained) == ("bytes-shifted", (NAME,), 1)
    assert f"{text}, as if read from a wrong offset, with" in found.sentence
    assert found.sentence.endswith("after them" if by > 0 else "before them")
    assert ("the right int8, but" in found.sentence) == (kind == "v2")


def test_zeros_at_the_end_of_a_displaced_tensor_are_named(tmp_path: Path) -> None:
    found = displaced(with_tensor_off(tmp_path / "x.bin", "v0", 8, b"\0"))
    assert found is not None
    assert found.sentence.endswith("8 bytes too early, as if read from a wrong offset, with zeros after them")


def test_a_tensor_with_a_wrong_byte_among_displaced_ones_has_no_name(tmp_path: Path) -> None:
    path = with_tensor_off(tmp_path / "x.bin", "v0", 8)
    content = bytearray(path.read_bytes())
    with reader_c.open(path) as model:
        content[model.spans(NAME)[0].offset + 3] ^= 1
    path.write_bytes(content)
    assert displaced(path) is None
