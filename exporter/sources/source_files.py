"""Each file of a source's directory before it is opened: a regular one, within the directory, and no stand-in."""

from __future__ import annotations

import os
import re
from pathlib import Path

from exporter.errors import CheckpointError

_POINTER = b"version https://git-lfs.github.com/spec/"
_CACHE = re.compile(r"models--.+--.+")


def check_file(path: Path, *, follow_links: bool) -> None:
    """Raise CheckpointError unless path is a regular file that may be opened.

    A link may lead to where its own directory holds it, or into a Hugging Face cache (models--ORG--NAME/blobs), where
    old downloads put their files; elsewhere with follow_links alone. A directory that somebody else made could
    otherwise have any file of the user's read, digested and published as weights.
    """
    if not os.path.lexists(path):
        raise CheckpointError(f"{path}: no such file or directory")
    if not follow_links and not _stays(path):
        raise CheckpointError(
            f"{path}: expected a file in this directory, found a link out of it: give --follow-links if you trust it"
        )
    check_named_file(path)


def check_named_file(path: Path) -> None:
    """Raise CheckpointError unless path, which the user named, is or leads to a regular file, and no pointer."""
    if not path.is_file():
        found = "a directory" if path.is_dir() else "no regular file"
        raise CheckpointError(f"{path}: expected a file, found {found}")
    refuse_pointer(path)


def refuse_pointer(path: Path) -> None:
    """Raise CheckpointError where a clone has Git LFS's pointer in the file's place."""
    if first_bytes(path, len(_POINTER)) == _POINTER:
        raise CheckpointError(
            f"{path}: expected the file itself, found a Git LFS pointer to it: run git lfs pull in its directory"
        )


def first_bytes(path: Path, count: int) -> bytes:
    """What a file begins with. Raises CheckpointError where it cannot be read."""
    try:
        with path.open("rb") as file:
            return file.read(count)
    except OSError as error:
        raise CheckpointError(f"{path}: {(error.strerror or str(error)).lower()}") from error


def _stays(path: Path) -> bool:
    try:
        root, target = path.parent.resolve(), path.resolve()
    except (OSError, RuntimeError):  # links that lead to each other, and to no file
        return True
    parts = target.parts
    cached = any(_CACHE.fullmatch(part) and "blobs" in parts[n + 1 : n + 2] for n, part in enumerate(parts))
    return cached or target.is_relative_to(root)
