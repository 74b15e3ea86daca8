"""Locks between processes (flock), which the system releases when a process ends, even where it is killed."""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Iterator
from pathlib import Path

from exporter.disk.sync import open_directory
from exporter.errors import as_write_error


def wait_for_lock(descriptor: int) -> None:
    """Lock an open file or directory exclusively, after waiting until no other process holds its lock.

    On a file system without locks this does nothing: no process can take a lock there, so that no process removes the
    workspace of another one.
    """
    with contextlib.suppress(OSError):
        fcntl.flock(descriptor, fcntl.LOCK_EX)


def try_lock(descriptor: int) -> None:
    """Lock an open file exclusively. Raises OSError where another process holds its lock, or where there are none."""
    fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)


@contextlib.contextmanager
def lock_target(target: Path) -> Iterator[None]:
    """Let one process at a time publish several files about one target, where the file system has locks.

    The lock is that of target's directory. An interrupt may release it late: nothing that follows in this process may
    wait for the same lock. Raises WriteError where the directory cannot be opened.
    """
    with as_write_error(target):
        lock = open_directory(target.parent)
    try:
        wait_for_lock(lock)
        yield
    finally:
        with contextlib.suppress(OSError):
            os.close(lock)
