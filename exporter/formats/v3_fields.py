"""Reads one field of v3's head after the other, each held against what it may be."""

from __future__ import annotations

import struct

from exporter.errors import CheckpointError
from exporter.number_checks import LARGEST, SMALLEST


class V3Error(CheckpointError):
    """A file breaks a rule of v3. field: the one at fault. offset: of its first byte, None for the file's size."""

    def __init__(self, where: str, field: str, offset: int | None, expected: object, found: object) -> None:
        self.field, self.offset = field, offset
        at = "" if offset is None else f" at {offset}"
        super().__init__(f"{where}: {field}{at}: expected {expected}, found {found}")


class Fields:
    """The fields of one head. where: the file's name, for messages. head: its bytes. size: of the whole file."""

    def __init__(self, where: str, head: bytes, size: int) -> None:
        self.where, self.head, self.size = where, head, size

    def wrong(self, field: str, offset: int | None, expected: object, found: object) -> V3Error:
        """Return the error for a field that breaks a rule."""
        return V3Error(self.where, field, offset, expected, found)

    def u32(self, field: str, at: int, least: int, most: int) -> int:
        """Return an unsigned number between two limits, both allowed. Raises V3Error."""
        (value,) = struct.unpack_from("<I", self.head, at)
        if not least <= value <= most:
            raise self.wrong(field, at, f"{least} to {most}", value)
        return int(value)

    def exactly(self, field: str, at: int, kind: str, expected: int) -> None:
        """Raise V3Error unless a field has this one value. kind: as struct has it."""
        (value,) = struct.unpack_from(kind, self.head, at)
        if value != expected:
            raise self.wrong(field, at, expected, value)

    def positive(self, field: str, at: int) -> float:
        """Return a real number that is positive, finite and normal as float32. Raises V3Error."""
        (value,) = struct.unpack_from("<d", self.head, at)
        if not SMALLEST <= value <= LARGEST:
            raise self.wrong(field, at, "a positive finite number, normal as float32", value)
        return float(value)

    def positive_single(self, field: str, at: int) -> float:
        """Return a positive, finite and normal number that is stored as float32. Raises V3Error."""
        (value,) = struct.unpack_from("<f", self.head, at)
        if not SMALLEST <= value <= LARGEST:
            raise self.wrong(field, at, "a positive finite normal number", value)
        return float(value)

    def positive_or_zero(self, field: str, at: int) -> float:
        """Return 0 where all bits are zero, else a number as `positive` has it. Raises V3Error."""
        return self.positive(field, at) if any(self.head[at : at + 8]) else 0.0
