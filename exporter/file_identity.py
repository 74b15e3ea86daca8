"""Detect whether a source's file is still the one that was opened."""

from __future__ import annotations

from pathlib import Path

from exporter.errors import CheckpointError, reason

Identity = tuple[int, int, int, int, int]


def identity(path: Path) -> Identity:
    """Return (device, inode, size, mtime_ns, ctime_ns), of which one differs once a file is replaced or written to.

    ctime is included because a program that writes to a file can set its mtime back. Compare identities within one
    process only. Raises CheckpointError where the file cannot be looked at.
    """
    try:
        s = path.stat()
    except OSError as error:
        raise CheckpointError(f"{path}: {reason(error)}") from error
    return s.st_dev, s.st_ino, s.st_size, s.st_mtime_ns, s.st_ctime_ns


def refuse_changed(path: Path, opened: Identity) -> None:
    """Raise CheckpointError where path is no longer the file whose identity was opened."""
    if identity(path) != opened:
        raise CheckpointError(f"{path}: changed while it was being read; retry when no other program writes to it")
