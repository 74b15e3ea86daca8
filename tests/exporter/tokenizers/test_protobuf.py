"""Messages of Protocol Buffers by hand: the value of every kind of field, and each way to be damaged."""

from __future__ import annotations

import struct

import pytest

from exporter.errors import CheckpointError
from exporter.tokenizers.protobuf import Message


def varint(value: int) -> bytes:
    parts = []
    while value > 0x7F:
        parts.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*parts, value])


def key(number: int, kind: int) -> bytes:
    return varint(number << 3 | kind)


def sized(number: int, content: bytes) -> bytes:
    return key(number, 2) + varint(len(content)) + content


def test_fields_of_every_kind_have_their_values() -> None:
    found = Message(
        "here",
        key(1, 0)
        + varint(300)
        + sized(2, b"abc")
        + key(3, 5)
        + struct.pack("<f", -1.5)
        + key(4, 1)
        + bytes(range(8))
        + sized(200, b"d" * 200),
    )
    assert found.integer(1, 0) == 300
    assert found.content(2) == b"abc"
    assert found.float32(3) == -1.5
    assert found.content(4) == bytes(range(8))
    assert found.content(200) == b"d" * 200


@pytest.mark.parametrize("value", [0, 1, 127, 128, 1 << 35, (1 << 63) + 5, (1 << 64) - 1])
def test_integers_have_64_bits(value: int) -> None:
    assert Message("here", key(1, 0) + varint(value)).integer(1, 7) == value


def test_bits_beyond_64_are_cut() -> None:
    assert Message("here", key(1, 0) + b"\x81" + b"\x80" * 8 + b"\x02").integer(1, 7) == 1
    assert Message("here", key(1, 0) + b"\x81" + b"\x80" * 8 + b"\x01").integer(1, 7) == (1 << 63) + 1


def test_absent_fields_have_their_default() -> None:
    empty = Message("here", b"")
    assert (empty.integer(1, 7), empty.float32(1), empty.content(1), empty.content(1, b"x")) == (7, 0.0, b"", b"x")
    assert (empty.boolean(1, True), empty.boolean(1, False), empty.contents(1)) == (True, False, [])


def test_the_last_value_counts_and_all_of_a_field_that_repeats() -> None:
    found = Message("here", sized(1, b"a") + key(2, 0) + b"\x01" + sized(1, b"b") + key(2, 0) + b"\x00")
    assert (found.content(1), found.contents(1), found.integer(2, 7)) == (b"b", [b"a", b"b"], 0)
    assert found.boolean(2, True) is False
    assert Message("here", key(2, 0) + b"\x02").boolean(2, False) is True


@pytest.mark.parametrize("size", [3, 5])
def test_a_float_has_four_bytes(size: int) -> None:
    with pytest.raises(CheckpointError) as refused:
        Message("here", sized(1, bytes(size))).float32(1)
    assert str(refused.value) == f"here: field 1: expected 4 bytes, found {size}"


def test_values_of_another_kind_are_refused() -> None:
    mixed = Message("here", sized(1, b"a") + key(1, 0) + b"\x01")
    with pytest.raises(CheckpointError, match=r"^here: field 1: expected bytes, found an integer$"):
        mixed.contents(1)
    with pytest.raises(CheckpointError, match=r"^here: field 2: expected an integer, found bytes$"):
        Message("here", sized(2, b"a")).integer(2, 0)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"\x80", "byte 3: expected the rest of an integer, found the end"),
        (key(1, 0), "byte 3: expected the rest of an integer, found the end"),
        (sized(1, b"abc")[:-1], "byte 4: field 1: expected 3 bytes, found 2"),
        (key(2, 5) + bytes(3), "byte 3: field 2: expected 4 bytes, found 3"),
        (key(2, 1) + bytes(7), "byte 3: field 2: expected 8 bytes, found 7"),
        (key(1, 3), "byte 3: expected a field of SentencePiece's model, found type 3"),
        (key(1, 7), "byte 3: expected a field of SentencePiece's model, found type 7"),
        (key(1, 0) + b"\xff" * 10 + b"\x01", "byte 3: expected an integer of at most 10 bytes, found more"),
    ],
)
def test_damage_is_named_at_its_place(content: bytes, message: str) -> None:
    """A whole field of two bytes stands before it, so that places count from the beginning."""
    with pytest.raises(CheckpointError) as refused:
        Message("here", sized(9, b"") + content)
    assert str(refused.value) == f"here: {message}"
