"""The exceptions of this package, which say what C refused."""

from __future__ import annotations

import os
from pathlib import Path


class ReaderError(Exception):
    """This is the root of every error of this package.

    Attributes:
        where: the file.
        field: what is wrong, in the words of the format ("n_heads", "file size", "token").
        offset: byte in the file, or index in the argument; None where neither applies.
        expected, found: as text.
    """

    def __init__(self, where: str, field: str, offset: int | None, expected: str, found: str) -> None:
        self.where, self.field, self.offset, self.expected, self.found = where, field, offset, expected, found
        at = "" if offset is None else f" at {offset}"
        super().__init__(f"{where}: {field}{at}: expected {expected}, found {found}")

    def __reduce__(self) -> tuple[type, tuple[object, ...]]:
        return type(self), (self.where, self.field, self.offset, self.expected, self.found)


class InvalidFileError(ReaderError, ValueError):
    """The file is not what its header says, or has no known format."""


class ArgumentError(ReaderError, ValueError):
    """Tokens, positions or options that the model cannot take."""


class UnknownTensorError(ReaderError, KeyError):
    """The file has no tensor of this name."""

    def __str__(self) -> str:
        # not KeyError's, which quotes the whole line
        return str(self.args[0])


class ReaderMemoryError(ReaderError, MemoryError):
    """Memory for a session of this size cannot be allocated."""


class ReaderSystemError(ReaderError, OSError):
    """The operating system refused to open or read the file.

    Attributes:
        errno: the system's number of the reason.
    """

    def __init__(self, where: str, field: str, number: int) -> None:
        super().__init__(where, field, None, "a readable regular file", os.strerror(number).lower())
        self.errno = number

    def __reduce__(self) -> tuple[type, tuple[object, ...]]:
        return type(self), (self.where, self.field, self.errno)


class ClosedError(ReaderError):
    """The model or session was closed before this call."""


_MAGICS = (b"24ka", b"1cja")

# The most likely kind of a file that is no .bin, by its first bytes.
_OTHER_KINDS = {
    b"GGUF": "a GGUF file",
    b"PK\x03\x04": "a zip archive, as a PyTorch checkpoint is",
    b"ak42": "a big-endian llama2.c file",
    b"\x80\x02": "a pickle, as an old PyTorch checkpoint is",
    b"\x89HDF": "an HDF5 file",
}


def remark_on_kind(path: str) -> str:
    """Return, in brackets, which kind of file its first bytes suggest; nothing where they are a .bin's."""
    try:
        with Path(os.fsdecode(path)).open("rb") as file:
            start = file.read(16)
    except OSError:
        return ""
    if start.startswith(_MAGICS):
        return ""
    for magic, kind in _OTHER_KINDS.items():
        if start.startswith(magic):
            return f" (is it {kind}?)"
    if start[8:9] == b"{" and int.from_bytes(start[:8], "little") < 1 << 32:
        return " (is it a safetensors file?)"
    return " (no magic at byte 0, so read as v0)"
