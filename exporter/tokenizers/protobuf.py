"""Read the fields of a message of Protocol Buffers, as SentencePiece stores its models, strictly and in few lines."""

from __future__ import annotations

import struct
from collections.abc import Iterator

from exporter.errors import CheckpointError

_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
_FIXED = {_FIXED64: 8, _FIXED32: 4}
_LONGEST_VARINT = 10
_64_BITS = (1 << 64) - 1


class Message:
    """A message's fields by number: the last value of each, and all values of those that repeat.

    Integers are unsigned; fixed fields and strings are bytes. Raises CheckpointError where the bytes end within a
    field or a field has an unknown type.
    """

    def __init__(self, where: str, content: bytes) -> None:
        self.where = where
        self._fields: dict[int, list[int | bytes]] = {}
        for number, value in _fields(where, content):
            self._fields.setdefault(number, []).append(value)

    def integer(self, number: int, default: int) -> int:
        """Return an integer, an enumeration's value or a truth value."""
        value = self._fields.get(number, [default])[-1]
        if not isinstance(value, int):
            raise CheckpointError(f"{self.where}: field {number}: expected an integer, found bytes")
        return value

    def boolean(self, number: int, default: bool) -> bool:
        """Return a truth value."""
        return bool(self.integer(number, int(default)))

    def float32(self, number: int) -> float:
        """Return a float, 0 where it is absent."""
        content = self.content(number, bytes(4))
        if len(content) != 4:
            raise CheckpointError(f"{self.where}: field {number}: expected 4 bytes, found {len(content)}")
        return float(struct.unpack("<f", content)[0])

    def content(self, number: int, default: bytes = b"") -> bytes:
        """Return a string's or a message's bytes."""
        return self.contents(number)[-1] if number in self._fields else default

    def contents(self, number: int) -> list[bytes]:
        """Return the bytes of a field that repeats."""
        values = self._fields.get(number, [])
        found = [value for value in values if isinstance(value, bytes)]
        if len(found) != len(values):
            raise CheckpointError(f"{self.where}: field {number}: expected bytes, found an integer")
        return found


def _fields(where: str, content: bytes) -> Iterator[tuple[int, int | bytes]]:
    at = 0
    while at < len(content):
        key, at = _varint(where, content, at)
        number, kind = key >> 3, key & 7
        if kind == _VARINT:
            value, at = _varint(where, content, at)
            yield number, value
            continue
        if kind == _BYTES:
            size, at = _varint(where, content, at)
        elif kind in _FIXED:
            size = _FIXED[kind]
        else:
            raise CheckpointError(f"{where}: byte {at}: expected a field of SentencePiece's model, found type {kind}")
        if size > len(content) - at:
            raise CheckpointError(
                f"{where}: byte {at}: field {number}: expected {size} bytes, found {len(content) - at}"
            )
        yield number, content[at : at + size]
        at += size


def _varint(where: str, content: bytes, at: int) -> tuple[int, int]:
    """Return the integer at `at`, and where it ends."""
    value = 0
    for count in range(_LONGEST_VARINT):
        if at + count == len(content):
            raise CheckpointError(f"{where}: byte {at + count}: expected the rest of an integer, found the end")
        byte = content[at + count]
        value |= (byte & 0x7F) << 7 * count
        if byte < 0x80:
            return value & _64_BITS, at + count + 1
    raise CheckpointError(f"{where}: byte {at}: expected an integer of at most {_LONGEST_VARINT} bytes, found more")
