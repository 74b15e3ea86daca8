"""Write a file or a directory atomically: it appears under its name complete, or not at all."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from exporter.disk.publish import publish, publish_directory
from exporter.disk.sync import sync_directory
from exporter.disk.workspace import workspace
from exporter.errors import as_write_error


@contextlib.contextmanager
def atomic_file(target: Path, *, overwrite: bool) -> Iterator[BinaryIO]:
    """Yield a temporary file that gets target's name when the block ends, and is removed when the block fails.

    Raises WriteError for every OSError of the block and of the publication.
    """
    with as_write_error(target), workspace(target) as directory:
        temporary = directory / target.name
        with temporary.open("xb+") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        publish(temporary, target, overwrite=overwrite)


@contextlib.contextmanager
def atomic_directory(target: Path, *, overwrite: bool) -> Iterator[Path]:
    """Yield a temporary directory that gets target's name when the block ends, and is removed when the block fails.

    The block syncs the files that it writes. Raises WriteError for every OSError of the block and of the publication.
    """
    with as_write_error(target), workspace(target) as directory:
        temporary = directory / target.name
        temporary.mkdir()
        yield temporary
        sync_directory(temporary)
        publish_directory(directory, target, overwrite=overwrite)
