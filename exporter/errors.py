"""Errors: one root, and which side is at fault."""

from __future__ import annotations


class ExportError(Exception):
    """The root of every error of this package. The message is one line: what, where, expected, found."""


class CheckpointError(ExportError, ValueError):
    """The source is not a checkpoint that can be understood exactly."""


class FormatError(ExportError, ValueError):
    """The chosen format cannot hold this model, or the option is none of its own."""


class WeightError(ExportError, ValueError):
    """A weight is NaN, infinite, or not representable. index: where in the tensor."""

    def __init__(self, message: str, index: tuple[int, ...]) -> None:
        super().__init__(message)
        self.index = index


class WriteError(ExportError, OSError):
    """The file could not be written; nothing appeared under its name."""


class NotLastingError(WriteError):
    """The file stands under its name, whole; the system could not be told to keep it through a crash."""
