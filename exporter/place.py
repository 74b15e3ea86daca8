"""Files and directories that appear under their name whole or not at all."""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
import shutil
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
    _sync_directory(target.parent)


# ---- directories ----


def resolve_directory_target(out: Path, *, overwrite: bool) -> Path:
    """The directory that will appear, links followed. Raises WriteError where something is in its way."""
    target = out.resolve()
    if target.exists() and not target.is_dir():
        raise WriteError(f"{out}: expected a directory or nothing, found something else")
    if target.exists() and not overwrite:
        raise WriteError(f"{out}: expected nothing there, found a directory (overwriting must be asked for)")
    if not target.parent.is_dir():
        raise WriteError(f"{out}: expected a directory at {target.parent}, found none")
    _check_replaceable(target)
    return target


@contextlib.contextmanager
def appearing_directory(target: Path, *, overwrite: bool) -> Iterator[Path]:
    """A temporary directory beside target that takes its name when the block ends, and vanishes when it fails.
    The block syncs the files that it writes."""
    temporary = target.with_name(f".{target.name}.{secrets.token_hex(4)}.partial")
    try:
        temporary.mkdir()
        yield temporary
        _sync_directory(temporary)
        publish_directory(temporary, target, overwrite=overwrite)
    except OSError as error:
        if isinstance(error, WriteError):
            raise
        raise WriteError(f"{target}: cannot be written: {(error.strerror or str(error)).lower()}") from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def publish_directory(temporary: Path, target: Path, *, overwrite: bool) -> None:
    """Give a complete, synced directory its name, durably; what had the name is removed, or back on any failure.

    Raises OSError. A directory with content cannot be replaced in one step: who is killed between two renames
    leaves the old one under the name that ends in .old.
    """
    old = temporary.with_suffix(".old")
    made = temporary.stat()
    try:
        if overwrite:
            _check_replaceable(target)
            if target.exists() and any(target.iterdir()):
                target.rename(old)
        # replaces an empty directory and nothing else
        temporary.rename(target)
        _sync_directory(target.parent)
    except BaseException:
        # what has happened is told by the disk: an interrupt may come between a rename and the next line
        if target.exists() and os.path.samestat(target.stat(), made):
            target.rename(temporary)
        if old.exists():
            old.rename(target)
        raise
    try:
        _remove_flat(old)
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise WriteError(f"{target}: written, but {old}, which was there, cannot be removed: {reason}") from error
    except BaseException:
        _remove_flat(old)
        raise


def _check_replaceable(target: Path) -> None:
    """Raise WriteError unless target is nothing, an empty directory, or one that may be removed: a flat one, with
    a config.json. Whoever gives the name of his home directory keeps it."""
    try:
        if not target.exists():
            return
        entries = {path.name: path for path in target.iterdir()}
        if entries and not ("config.json" in entries and entries["config.json"].is_file()):
            raise WriteError(
                f"{target}: expected an empty directory or one with a config.json to overwrite, found neither"
            )
        within = [path.name for path in entries.values() if path.is_dir() and not path.is_symlink()]
        if within:
            raise WriteError(f"{target}: expected no directories in what is overwritten, found {min(within)}")
        if not os.access(target, os.W_OK | os.X_OK):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
    except OSError as error:
        if isinstance(error, WriteError):
            raise
        raise WriteError(f"{target}: cannot be overwritten: {(error.strerror or str(error)).lower()}") from error


def _remove_flat(directory: Path) -> None:
    """Remove a directory without directories; not recursive, so that it never removes more than was looked at."""
    if directory.exists():
        for path in directory.iterdir():
            path.unlink()
        directory.rmdir()


def _sync_directory(directory: Path) -> None:
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
