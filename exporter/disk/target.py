"""Check the path that a caller gave as target, before anything is written."""

from __future__ import annotations

import errno
import os
import shlex
from pathlib import Path

from exporter.disk.locks import wait_for_lock
from exporter.disk.sync import open_directory
from exporter.disk.workspace import clear_stale
from exporter.errors import WriteError, as_write_error, reason

_OVERWRITE = "add --overwrite (in Python: overwrite=True) to replace it"


def resolve_target(out: Path, *, overwrite: bool) -> Path:
    """Return the path of the file that will be written, links followed.

    Raises WriteError where out is no regular file, exists without overwrite, or stands in no directory.
    """
    target = _without_links(out)
    if target.exists() and not target.is_file():
        found = "a directory" if target.is_dir() else "something that is no regular file"
        advice = f"give a path inside it, such as {out / 'model.bin'}" if target.is_dir() else "choose another path"
        raise WriteError(f"{out}: OUT: expected a regular file or nothing, found {found}: {advice}")
    if target.exists() and not overwrite:
        raise WriteError(f"{out}: OUT: expected nothing there, found a file: {_OVERWRITE}")
    _require_parent(out, target)
    return target


def resolve_directory_target(out: Path, *, overwrite: bool) -> Path:
    """Return the path of the directory that will be written, links followed.

    Raises WriteError where out is no directory, exists without overwrite, may not be replaced, or stands in no
    directory.
    """
    target = _without_links(out)
    with as_write_error(out):
        _require_parent(out, target)
        # a directory that a killed process had set aside counts as the one that stands there
        clear_stale(target)
        lock = open_directory(target.parent)
        try:
            # another process may just have set it aside: it would exist at one look and be missing at the next
            wait_for_lock(lock)
            if target.exists() and not target.is_dir():
                found = "a file" if target.is_file() else "something that is no directory"
                raise WriteError(f"{out}: OUT: expected a directory or nothing, found {found}: choose another path")
            if target.exists() and not overwrite:
                raise WriteError(f"{out}: OUT: expected nothing there, found a directory: {_OVERWRITE}")
            require_replaceable(target)
        finally:
            # without contextlib.suppress: an interrupt before its first line would keep the lock
            try:  # noqa: SIM105
                os.close(lock)
            except OSError:
                pass
    return target


def require_replaceable(target: Path) -> None:
    """Raise WriteError unless target is nothing, an empty directory, or a flat directory with a config.json.

    So a user who gives the name of a home directory keeps it.
    """
    try:
        if not target.exists():
            return
        entries = {path.name: path for path in target.iterdir()}
        if entries and not ("config.json" in entries and entries["config.json"].is_file()):
            raise WriteError(
                f"{target}: expected an empty directory or one with a config.json to overwrite, found neither; "
                "choose another path"
            )
        inner = [path.name for path in entries.values() if path.is_dir() and not path.is_symlink()]
        if inner:
            raise WriteError(
                f"{target}: expected no directories in the directory to overwrite, found {min(inner)}; "
                "choose another path"
            )
        if not os.access(target, os.W_OK | os.X_OK):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
    except OSError as error:
        if isinstance(error, WriteError):
            raise
        raise WriteError(f"{target}: cannot be overwritten: {reason(error)}") from error


def _without_links(out: Path) -> Path:
    try:
        with as_write_error(out):
            return out.resolve()
    except RuntimeError as error:
        raise WriteError(f"{out}: expected a file or nothing, found links that lead in a circle") from error


def _require_parent(out: Path, target: Path) -> None:
    if not target.parent.is_dir():
        parent = shlex.quote(str(target.parent))
        raise WriteError(
            f"{out}: OUT: expected a directory at {target.parent}, found none: create it with `mkdir -p {parent}`"
        )
