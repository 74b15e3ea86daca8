"""Whether a file is still the one that was opened."""

from __future__ import annotations

from pathlib import Path

from exporter.errors import CheckpointError

Identity = tuple[int, int, int, int, int]


def identity(path: Path) -> Identity:
    """What differs once a file is replaced or written to: its ctime too, because whoever writes to a file can put its
    mtime back. For one process alone. Raises CheckpointError where it cannot be asked for."""
    try:
        s = path.stat()
    except OSError as error:
        raise CheckpointError(f"{path}: {(error.strerror or str(error)).lower()}") from error
    return s.st_dev, s.st_ino, s.st_size, s.st_mtime_ns, s.st_ctime_ns


def refuse_changed(path: Path, opened: Identity) -> None:
    """Raise CheckpointError where it is no longer the one that was opened."""
    if identity(path) != opened:
        raise CheckpointError(f"{path}: changed while it was being read")
