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
    command = ["mount", "-t", "tmpfs", "-o", f"size={size * PAGE}", "tmpfs", str(place)]
    mounted = subprocess.run(command, capture_output=True, text=True, check=False)
    if mounted.returncode:
        raise MountRefusedError(mounted.stderr.strip())
    try:
        yield
    finally:
        subprocess.run(["umount", str(place)], check=True)
