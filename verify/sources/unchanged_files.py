"""Tells whether a source's files are still the ones that were opened."""

from __future__ import annotations

import os
from pathlib import Path

from verify.errors import CannotJudgeError

Identity = tuple[int, int, int, int, int]


def identity(path: str | os.PathLike[str]) -> Identity:
    """Return numbers that change when a file, or the file that a link leads to, is replaced or written to. Raises
    OSError, or ValueError for a name that is no path.

    They include the ctime, because a program that writes to a file can put its mtime back. Links, renames and chmod
    change the ctime as well, and machines that share the file may report different ones: use the numbers within one
    process and do not store them.
    """
    found = os.stat(path)  # noqa: PTH116  # a path of any bytes
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns


class UnchangedFiles:
    """Remembers the files that a source is read from. Note each file before its first byte is read."""

    def __init__(self, *paths: Path) -> None:
        self._identities: dict[Path, Identity] = {}
        for path in paths:
            self.note(path)

    def note(self, path: Path) -> None:
        """Remember a file. Raises CannotJudgeError where there is none."""
        self._identities[path] = _identity(path)

    def expect_unchanged(self) -> None:
        """Raises CannotJudgeError where any file was replaced or written to since."""
        for path, noted in self._identities.items():
            if _identity(path) != noted:
                raise CannotJudgeError(f"{path}: changed while it was being read")


def _identity(path: Path) -> Identity:
    try:
        return identity(path)
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else None
        raise CannotJudgeError(f"{path}: {(reason or str(error)).lower()}") from error
