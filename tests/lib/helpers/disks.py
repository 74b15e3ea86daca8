"""Disks of a size of one's own. As root."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

PAGE = os.sysconf("SC_PAGESIZE")


class MountRefusedError(Exception):
    """Who is not root has no disks of his own."""


def pages(place: Path) -> int:
    """That a file, or all that stands in a directory, takes."""
    files = [path for path in (place, *place.rglob("*")) if path.is_file()]
    return sum(-(-file.stat().st_size // PAGE) for file in files)


@contextmanager
def tmpfs(place: Path, size: int) -> Iterator[None]:
    """A disk of size pages at an empty directory. Raises MountRefusedError."""
    with _done_and_undone(["mount", "-t", "tmpfs", "-o", f"size={size * PAGE}", "tmpfs", place], ["umount", place]):
        yield


@contextmanager
def read_only(place: Path) -> Iterator[None]:
    """The disk at a directory takes no writes. Raises MountRefusedError."""
    with _done_and_undone(["mount", "-o", "remount,ro", place], ["mount", "-o", "remount,rw", place]):
        yield


@contextmanager
def immutable(place: Path) -> Iterator[None]:
    """A file or directory that not even root changes. Raises MountRefusedError."""
    with _done_and_undone(["chattr", "+i", place], ["chattr", "-i", place]):
        yield


@contextmanager
def _done_and_undone(doing: list[str | Path], undoing: list[str | Path]) -> Iterator[None]:
    done = subprocess.run(doing, capture_output=True, text=True, check=False)
    if done.returncode:
        raise MountRefusedError(done.stderr.strip())
    try:
        yield
    finally:
        subprocess.run(undoing, check=True)
