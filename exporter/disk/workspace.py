"""Workspaces: private directories beside a target, in which it is made before it gets its name.

A process that is killed leaves its workspace behind; the next process with the same target removes it.
"""

from __future__ import annotations

import contextlib
import os
import re
import secrets
import shutil
from collections.abc import Iterator
from pathlib import Path

from exporter.disk.locks import try_lock, wait_for_lock
from exporter.disk.sync import open_directory
from exporter.errors import as_write_error


@contextlib.contextmanager
def workspace(target: Path) -> Iterator[Path]:
    """Yield a private directory beside target, on its file system, and remove it with its content at the end.

    The caller may use target's name in it and any name that does not begin with it; names that begin with it and
    continue belong to this module. Workspaces that killed processes left for the same target are removed first: a
    living process holds a lock on a file in its workspace, which the system releases when the process ends. Raises
    WriteError where no directory can be made.
    """
    clear_stale(target)
    directory = _unused_name(target)
    lock: int | None = None
    # an interrupt may come after any line: what exists by then is removed
    try:
        while (lock := _create(directory, target)) is None:
            directory = _unused_name(target)
        yield directory
    finally:
        try:
            _remove(directory, target)
        except BaseException:
            # interrupted: remove the rest before the interrupt goes on
            _remove(directory, target)
            raise
        finally:
            if lock is not None:
                _release(lock, directory)


def clear_stale(target: Path) -> None:
    """Remove the workspaces of target that no living process holds.

    A directory that stood at target when a process was killed between two renames gets its name back. A workspace
    that cannot be removed, or cannot be locked on this file system, stays.
    """
    named = re.compile(rf"\.{re.escape(target.name)}\.[0-9a-f]{{8}}\.partial")
    with contextlib.suppress(OSError):
        found = [path for path in target.parent.iterdir() if named.fullmatch(path.name)]
        for directory in found:
            if directory.is_dir() and not directory.is_symlink():
                _clear_unless_held(directory, target)


def set_aside_name(directory: Path, target: Path) -> Path:
    """Return where, in a workspace, the directory that had target's name waits until its successor has the name."""
    return directory / f"{target.name}.old"


def remove_replaced(directory: Path, target: Path) -> None:
    """Remove the directory that was set aside in a workspace. Raises OSError.

    It gets a third name first, because a half-removed directory must never get target's name back. The removal is not
    recursive, so that it never removes more than was checked.
    """
    replaced = directory / f"{target.name}.replaced"
    with contextlib.suppress(FileNotFoundError):
        set_aside_name(directory, target).rename(replaced)
    if replaced.exists():
        for path in replaced.iterdir():
            path.unlink()
        replaced.rmdir()


def _unused_name(target: Path) -> Path:
    return target.with_name(f".{target.name}.{secrets.token_hex(4)}.partial")


def _lock_file(directory: Path, target: Path) -> Path:
    return directory / f"{target.name}.lock"


def _create(directory: Path, target: Path) -> int | None:
    """Make a workspace and lock it: return a descriptor, which holds the lock while it is open. Raises WriteError.

    None means that the name was taken, or that another process mistook the workspace for a stale one before it was
    locked.
    """
    file = _lock_file(directory, target)
    with as_write_error(target):
        try:
            directory.mkdir(mode=0o700)
        except FileExistsError:
            return None
        try:
            lock = os.open(file, os.O_RDWR | os.O_CREAT, 0o600)
        except FileNotFoundError:
            return None
        wait_for_lock(lock)
        if _is_at(lock, file):
            return lock
        os.close(lock)
        return None


def _clear_unless_held(directory: Path, target: Path) -> None:
    with contextlib.suppress(OSError):
        # created where it is missing: its process was killed before it made the file, or is about to open it
        lock = os.open(_lock_file(directory, target), os.O_RDWR | os.O_CREAT, 0o600)
        try:
            try_lock(lock)
            if _is_at(lock, _lock_file(directory, target)):
                _remove(directory, target)
        finally:
            _release(lock, directory)


def _is_at(descriptor: int, path: Path) -> bool:
    """Return whether path still names the open file."""
    try:
        return os.path.samestat(os.fstat(descriptor), path.stat())
    except FileNotFoundError:
        return False


def _release(lock: int, directory: Path) -> None:
    # nothing was written through it
    with contextlib.suppress(OSError):
        os.close(lock)
    # NFS keeps an open file's directory until the file is closed
    with contextlib.suppress(OSError):
        directory.rmdir()


def _remove(directory: Path, target: Path) -> None:
    """Remove a workspace. A directory that was set aside in it gets its name back where nothing stands at target.

    The next process with this target does what cannot be done now.
    """
    with contextlib.suppress(OSError):
        old = set_aside_name(directory, target)
        if old.is_dir():
            lock = open_directory(target.parent)
            try:
                wait_for_lock(lock)
                if not os.path.lexists(target):
                    old.rename(target)
            finally:
                # without contextlib.suppress: an interrupt before its first line would keep the lock
                try:  # noqa: SIM105
                    os.close(lock)
                except OSError:
                    pass
        remove_replaced(directory, target)
        shutil.rmtree(directory)
