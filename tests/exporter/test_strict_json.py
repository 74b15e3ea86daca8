"""strict_json: one meaning for each file, and values that are safe to print."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import exporter
from exporter.strict_json import number, read_object, shown

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@given(st.dictionaries(st.text(), VALUES, max_size=4))
def test_an_object_is_read_as_it_was_written(content: dict[str, Any]) -> None:
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "file.json"
        path.write_text(json.dumps(content), encoding="utf-8")
        assert read_object(path) == content


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "expected JSON, found otherwise: Expecting value: line 1 column 1 (char 0)"),
        (
            b"\xff",
            "expected JSON, found otherwise: 'utf-8' codec can't decode byte 0xff in position 0: invalid start byte",
        ),
        (b"[1]", "expected a JSON object, found list"),
        (b'{"a": {"b": 1, "b": 1}}', "expected each key once, found 'b' twice"),
        (b'{"a": NaN}', "expected numbers that JSON has, found NaN"),
        (b'{"a": -Infinity}', "expected numbers that JSON has, found -Infinity"),
        (b'{"a": ' + b"[" * 100_000 + b"]" * 100_000 + b"}", "expected JSON of a few levels, found too many"),
        (b"{}" + b" " * 10_000_000, "expected at most 10000000 bytes, found more"),
    ],
)
def test_ambiguous_and_excessive_files_are_refused(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "file.json"
    path.write_bytes(content)
    with pytest.raises(exporter.CheckpointError) as caught:
        read_object(path)
    assert str(caught.value) == f"{path}: {message}"


def test_a_missing_file_is_refused_with_the_reason(tmp_path: Path) -> None:
    with pytest.raises(exporter.CheckpointError) as caught:
        read_object(tmp_path / "gone")
    assert str(caught.value) == f"{tmp_path / 'gone'}: no such file or directory"


@given(VALUES | st.binary() | st.sets(st.integers()))
def test_a_shown_value_is_one_short_line(value: object) -> None:
    text = shown(value)
    assert len(text) <= 83
    assert text.isascii()
    assert text.isprintable()


def test_nested_values_are_shown_by_their_type() -> None:
    deep: list[Any] = []
    for _ in range(100_000):
        deep = [deep]
    assert shown(deep) == "list"
    assert shown({"a": {}}) == "dict"
    assert shown({"a": 1, "b": None}) == "{'a': 1, 'b': None}"
    assert shown(["é"]) == "['\\xe9']"
    assert shown("x" * 99, most=5) == "'xxxx..."


@pytest.mark.parametrize(
    ("value", "found"),
    [
        (True, "a number, found True"),
        ("1", "a number, found '1'"),
        (None, "a number, found None"),
        (10**400, f"a finite number, found 1{'0' * 79}..."),
        (float("nan"), "a finite number, found nan"),
        (float("-inf"), "a finite number, found -inf"),
    ],
)
def test_what_is_no_finite_number_is_refused(value: object, found: str) -> None:
    with pytest.raises(exporter.CheckpointError) as caught:
        number("here: field", value)
    assert str(caught.value) == f"here: field: expected {found}"


def test_numbers_come_back_as_floats_of_any_sign() -> None:
    assert [number("", value) for value in (3, -2.5, 0)] == [3.0, -2.5, 0.0]
    assert type(number("", 3)) is float
