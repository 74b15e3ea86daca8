"""Make names in a directory durable, so that they survive a crash of the machine."""

from __future__ import annotations

import contextlib
import errno
import os
from pathlib import Path


def open_directory(directory: Path) -> int:
    """Return a descriptor of a directory, to sync or lock it. Raises OSError.

    Nothing is written through it, so that a caller may ignore an error of os.close().
    """
    return os.open(directory, os.O_RDONLY | os.O_DIRECTORY)


def sync_names(directory: int) -> None:
    """Make the names in an open directory durable, where its file system can. Raises OSError."""
    try:
        os.fsync(directory)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):
            raise


def sync_directory(directory: Path) -> None:
    """Make the names in a directory durable, where its file system can. Raises OSError."""
    descriptor = open_directory(directory)
    try:
        sync_names(descriptor)
    finally:
        with contextlib.suppress(OSError):
            os.close(descriptor)
