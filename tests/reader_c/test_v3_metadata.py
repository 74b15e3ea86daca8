"""v3's metadata, letter by letter: what the C reader takes is what Python does."""

from __future__ import annotations

import itertools
import struct
from pathlib import Path

import pytest
from helpers.counted import Counted
from helpers.v3_files import ENTRY, head_size, healthy, patched, put, refusals

import reader_c
from exporter.sources.v3 import read_head

# behind two layers, whose table fills one block of 64
METADATA = 512 + 64 + 35 * ENTRY


@pytest.mark.parametrize("key", ["0az9", "._-"])
def test_every_letter_of_a_key_is_taken(tmp_path: Path, key: str) -> None:
    path = tmp_path / "model.bin"
    healthy(path, metadata={key: ""})
    with reader_c.open(path) as model:
        assert model.metadata == read_head(path).metadata == {key: ""}


@pytest.mark.parametrize("letter", [b"`", b"{", b"/", b":", b",", b"^", b" ", b"\x80"])
def test_no_other_letter_is(tmp_path: Path, letter: bytes) -> None:
    path = tmp_path / "model.bin"
    by_c, by_python = refusals(path, patched(healthy(path), (METADATA + 8, letter)))
    assert (by_c.field, by_c.offset) == (by_python.field, by_python.offset) == ("metadata key", METADATA + 8)


@pytest.mark.parametrize(
    ("key", "shown"),
    [
        (b"Ab", "Ab"),
        (b"a b", "a?b"),
        (b"~\x7f", "~?"),
        (b"a\x00", "a?"),
        (b"!a\xff", "!a?"),
        (b"A" * 64, "A" * 63),
    ],
)
def test_a_key_with_another_letter_is_shown(tmp_path: Path, key: bytes, shown: str) -> None:
    """Up to 63 of its letters, with a question mark for each that cannot be printed."""
    path = tmp_path / "model.bin"
    content = healthy(path, metadata={"k" * len(key): "value"})
    by_c, _ = refusals(path, patched(content, (METADATA + 8, key)))
    expected = f"metadata key at {METADATA + 8}: expected only a-z, 0-9 and . _ -, found {shown!r}"
    assert str(by_c) == f"{path}: {expected}"


def test_a_key_that_does_not_ascend_is_shown_with_the_one_before(tmp_path: Path) -> None:
    path = tmp_path / "model.bin"
    content = healthy(path, metadata={"a": "", "b": ""})
    by_c, _ = refusals(path, patched(content, (METADATA + 8, b"c")))
    assert str(by_c) == f"{path}: metadata key at {METADATA + 17}: expected more than 'c', found 'b'"


def test_a_value_that_is_not_utf_8_is_said_to_be_other_bytes(tmp_path: Path) -> None:
    path = tmp_path / "model.bin"
    content = healthy(path, metadata={"a": "value"})
    by_c, _ = refusals(path, patched(content, (METADATA + 9, b"\xff")))
    assert str(by_c) == f"{path}: metadata value at {METADATA + 9}: expected UTF-8, found other bytes"


def test_utf_8_is_what_python_takes_for_it(tmp_path: Path, counted: Counted) -> None:
    """Bytes at the edges of what each place of a character may hold."""
    leads = (
        0x7F,
        0x80,
        0xBF,
        0xC0,
        0xC1,
        0xC2,
        0xDF,
        0xE0,
        0xE1,
        0xEC,
        0xED,
        0xEE,
        0xEF,
        0xF0,
        0xF1,
        0xF3,
        0xF4,
        0xF5,
    )
    seconds, rest = (0x7F, 0x80, 0x8F, 0x90, 0x9F, 0xA0, 0xBF, 0xC0), (0x41, 0x7F, 0x80, 0xBF, 0xC0)
    path = tmp_path / "model.bin"
    content, count = healthy(path), 0
    for character in map(bytes, itertools.product(leads, seconds, rest, rest)):
        for value in (character + b"abc", b"abc" + character):
            path.write_bytes(patched(content, (METADATA + 14, value)))
            count += 1
            try:
                expected = value.decode()
            except UnicodeDecodeError:
                with pytest.raises(reader_c.InvalidFileError, match=f"metadata value at {METADATA + 14}:"):
                    reader_c.open(path)
            else:
                with reader_c.open(path) as model:
                    assert model.metadata["a.note"] == expected
    counted("characters at the edges of UTF-8, in metadata", count, "taken or refused as Python does")


def test_metadata_that_miss_an_entry_are_told_what_is_the_least(tmp_path: Path) -> None:
    path = tmp_path / "model.bin"
    content = healthy(path)
    by_c, _ = refusals(path, patched(content, put(148, "<I", 4)))
    (size,) = struct.unpack_from("<I", content, 144)
    assert by_c.expected == f"at least {size + 8}"


@pytest.mark.parametrize("longer", ["value", "key"])
def test_metadata_that_end_within_an_entry_are_told_what_is_the_least(tmp_path: Path, longer: str) -> None:
    path = tmp_path / "model.bin"
    # a key of two letters and a value of five
    content = healthy(path, metadata={"ab": "value"})
    key, value = (30, 5) if longer == "key" else (2, 30)
    changes = (put(METADATA, "<I", key), put(METADATA + 4, "<I", value))
    by_c, by_python = refusals(path, patched(content, *changes))
    assert by_c.field == by_python.field == "metadata size"
    assert (by_c.expected, by_c.found) == (f"at least {8 + key + value}", "15")


def test_metadata_beyond_their_entries_are_told_what_they_are(tmp_path: Path) -> None:
    path = tmp_path / "model.bin"
    content = healthy(path, metadata={"ab": "value", "c": ""})
    by_c, by_python = refusals(path, patched(content, put(148, "<I", 1)))
    assert by_c.field == by_python.field == "metadata size"
    assert (by_c.expected, by_c.found) == ("exactly 15", "24")


def test_a_head_of_any_size_is_padded_to_the_alignment(tmp_path: Path) -> None:
    path = tmp_path / "model.bin"
    for size in range(64):
        content = healthy(path, metadata={"a": "x" * size})
        with reader_c.open(path) as model:
            assert model.head_size == head_size(content)
