"""Reports on disk: all files of a report appear, after the file that they describe, or none."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator
from pathlib import Path

from exporter.disk.sync import sync_directory
from exporter.disk.workspace import workspace
from exporter.errors import WriteError, as_write_error
from verify.report.files import NAMES, PLACES, SIGNATURE, render
from verify.report.model import Report
from verify.report.signature import SigningKey


def write_report(report: Report, directory: Path, key: SigningKey | None = None) -> None:
    """Write every rendering into a directory, which is created if it is missing, and sign them with a key.

    Raises WriteError.
    """
    with staged(report, directory, key) as publish:
        publish()


@contextlib.contextmanager
def staged(report: Report, directory: Path, key: SigningKey | None = None) -> Iterator[Callable[[], None]]:
    """Write and sync all files in a hidden place; yield the function that gives them their names."""
    with as_write_error(directory), _existing(directory), workspace(directory / NAMES[0]) as room:
        for name in PLACES:
            # detected while nothing has happened yet, because the renames come last
            if (directory / name).is_dir():
                raise WriteError(f"{directory / name}: expected a file or nothing, found a directory")
        contents = render(report)
        if key is not None:
            contents[SIGNATURE] = key.sign(contents, directory.name or "report")
        for name, content in contents.items():
            with (room / name).open("xb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())

        def publish() -> None:
            with as_write_error(directory):
                # first, because no attestation or signature of an earlier report may ever stand beside this one
                for name in PLACES:
                    if name not in contents and os.path.lexists(directory / name):
                        (directory / name).unlink()
                for name in contents:
                    (room / name).replace(directory / name)
                sync_directory(directory)

        yield publish


def remove_report(directory: Path) -> None:
    """Remove the files that write_report wrote, and the directory if it is then empty. Raises OSError."""
    for name in PLACES:
        (directory / name).unlink(missing_ok=True)
    # the directory stays if it holds other files
    with contextlib.suppress(OSError):
        directory.rmdir()


@contextlib.contextmanager
def _existing(directory: Path) -> Iterator[None]:
    """Create the directory; remove again what was created if the block fails."""
    missing = [path for path in (directory, *directory.absolute().parents) if not path.exists()]
    directory.mkdir(parents=True, exist_ok=True)
    try:
        yield
    except BaseException:
        for path in missing:
            with contextlib.suppress(OSError):
                path.rmdir()
        raise
