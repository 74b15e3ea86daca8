"""The last step: what is complete gets its name, and the name lasts."""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Iterator
from pathlib import Path

from exporter.errors import NotLastingError, WriteError


def publish(temporary: Path, target: Path, *, overwrite: bool) -> None:
    """Give a complete, synced file its name, durably. Both stand in one file system, where temporary is removed by
    whoever made it. Raises OSError; NotLastingError where the file has got its name."""
    # what can be refused is, before anything appears
    parent = open_directory(target.parent)
    try:
        if overwrite:
            temporary.replace(target)
        else:
            # link refuses a name that has come to exist meanwhile, which a rename would replace
            target.hardlink_to(temporary)
        try:
            sync_names(parent)
        except OSError as error:
            raise NotLastingError(
                f"{target}: written, but a crash of the machine may undo it: {reason(error)}"
            ) from error
    finally:
        with contextlib.suppress(OSError):
            os.close(parent)


def open_directory(directory: Path) -> int:
    """A descriptor, through which nothing is written: what its close() answers means nothing. Raises OSError."""
    return os.open(directory, os.O_RDONLY | os.O_DIRECTORY)


def sync_names(directory: int) -> None:
    """Make the names in an open directory durable, where its file system has a way to. Raises OSError."""
    try:
        os.fsync(directory)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):
            raise


def sync_directory(directory: Path) -> None:
    """Make the names in it durable. Raises OSError."""
    descriptor = open_directory(directory)
    try:
        sync_names(descriptor)
    finally:
        with contextlib.suppress(OSError):
            os.close(descriptor)


@contextlib.contextmanager
def told_of(target: Path) -> Iterator[None]:
    """What the system refuses, as WriteError."""
    try:
        yield
    except WriteError:
        raise
    except OSError as error:
        raise WriteError(f"{target}: cannot be written: {reason(error)}") from error


def reason(error: OSError) -> str:
    return (error.strerror or str(error)).lower()
