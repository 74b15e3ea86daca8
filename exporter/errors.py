"""Errors of this package: one root, and a class for each side that can be at fault."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path


class ExportError(Exception):
    """This is the root of every error of this package. The message is one line: where, field, expected, found."""


class CheckpointError(ExportError, ValueError):
    """The source is not a checkpoint that this package understands exactly."""


class UnknownTensorError(ExportError, KeyError):
    """The checkpoint has no tensor of this name."""

    def __str__(self) -> str:
        # not KeyError's, which quotes the whole line
        return str(self.args[0])


class FormatError(ExportError, ValueError):
    """The chosen format cannot hold this model, or has no such option."""


class WeightError(ExportError, ValueError):
    """A weight is NaN, infinite, or not representable.

    Attributes:
        index: its position in the tensor.
    """

    def __init__(self, message: str, index: tuple[int, ...]) -> None:
        super().__init__(message)
        self.index = index


class WriteError(ExportError, OSError):
    """The file could not be written; nothing appeared under its name."""


class NotLastingError(WriteError):
    """The file stands complete under its name, but the system did not confirm that it survives a crash."""


def reason(error: OSError) -> str:
    """Return what the system says about an error, in lower case: "no space left on device"."""
    return (error.strerror or str(error)).lower()


@contextlib.contextmanager
def as_write_error(path: Path) -> Iterator[None]:
    """Raise every OSError of the block as WriteError, which names path and the system's reason."""
    try:
        yield
    except WriteError:
        raise
    except OSError as error:
        raise WriteError(f"{path}: cannot be written: {reason(error)}") from error
