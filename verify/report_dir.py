"""Reports on disk: all files of one report, after the file that they are about, or none."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator
from pathlib import Path

from exporter.disk.sync import sync_directory
from exporter.disk.workspace import workspace
from exporter.errors import WriteError, as_write_error
from verify.report.files import NAMES, render
from verify.report.model import Report


def write_report(report: Report, directory: Path) -> None:
    """Every rendering, into a directory that is made where it is missing. Raises WriteError."""
    with staged(report, directory) as publish:
        publish()


@contextlib.contextmanager
def staged(report: Report, directory: Path) -> Iterator[Callable[[], None]]:
    """Everything written and synced where nobody looks; the function that this yields gives it its names."""
    with as_write_error(directory), _existing(directory), workspace(directory / NAMES[0]) as room:
        for name in NAMES:
            # found out while nothing has happened, because the renames come last
            if (directory / name).is_dir():
                raise WriteError(f"{directory / name}: expected a file or nothing, found a directory")
        for name, content in render(report).items():
            with (room / name).open("xb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())

        def publish() -> None:
            with as_write_error(directory):
                for name in NAMES:
                    (room / name).replace(directory / name)
                sync_directory(directory)

        yield publish


def remove_report(directory: Path) -> None:
    """Remove what write_report wrote, and the directory if nothing else is in it. Raises OSError."""
    for name in NAMES:
        (directory / name).unlink(missing_ok=True)
    # somebody else's files stay where they are
    with contextlib.suppress(OSError):
        directory.rmdir()


@contextlib.contextmanager
def _existing(directory: Path) -> Iterator[None]:
    """The directories that had to be made for it are gone again where the block fails."""
    missing = [path for path in (directory, *directory.absolute().parents) if not path.exists()]
    directory.mkdir(parents=True, exist_ok=True)
    try:
        yield
    except BaseException:
        for path in missing:
            with contextlib.suppress(OSError):
                path.rmdir()
        raise
