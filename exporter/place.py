"""Files that appear under their name whole or not at all."""

from __future__ import annotations

import contextlib
import os
import secrets
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from exporter.errors import WriteError


def resolve_target(out: Path, *, overwrite: bool) -> Path:
    """The file that will appear, links followed. Raises WriteError where something is in its way."""
    target = out.resolve()
    if target.exists() and not target.is_file():
        raise WriteError(f"{out}: expected a regular file or nothing, found something else")
    if target.exists() and not overwrite:
        raise WriteError(f"{out}: expected nothing there, found a file (overwriting must be asked for)")
    if not target.parent.is_dir():
        raise WriteError(f"{out}: expected a directory at {target.parent}, found none")
    return target


@contextlib.contextmanager
def appearing(target: Path, *, overwrite: bool) -> Iterator[BinaryIO]:
    """A temporary file beside target that takes its name when the block ends, and vanishes when it fails."""
    temporary = target.with_name(f".{target.name}.{secrets.token_hex(4)}.partial")
    try:
        with temporary.open("xb+") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        publish(temporary, target, overwrite=overwrite)
    except OSError as error:
        if isinstance(error, WriteError):
            raise
        raise WriteError(f"{target}: cannot be written: {(error.strerror or str(error)).lower()}") from error
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink()


def publish(temporary: Path, target: Path, *, overwrite: bool) -> None:
    """Give a complete, synced file its name, durably. Both stand in one file system. Raises OSError."""
    if overwrite:
        temporary.replace(target)
    else:
        # link refuses a name that has come to exist meanwhile, which a rename would replace
        target.hardlink_to(temporary)
        temporary.unlink()
    descriptor = os.open(target.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
