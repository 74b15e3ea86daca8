"""Give a complete file or directory its name, durably: the last step of every export."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

from exporter.disk.locks import wait_for_lock
from exporter.disk.sync import open_directory, sync_names
from exporter.disk.target import require_replaceable
from exporter.disk.workspace import remove_replaced, set_aside_name
from exporter.errors import NotLastingError, WriteError, reason


def publish(temporary: Path, target: Path, *, overwrite: bool) -> None:
    """Give a complete, synced file its name, durably.

    Both paths lie on one file system; the caller removes temporary where it is left. Raises OSError where nothing
    appeared at target, NotLastingError where the file has its name but may lose it in a crash.
    """
    # opened first: an error here comes before anything appears
    parent = open_directory(target.parent)
    try:
        if overwrite:
            temporary.replace(target)
        else:
            # hardlink_to refuses a name that exists by now, which a rename would replace
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


def publish_directory(workspace: Path, target: Path, *, overwrite: bool, locked: bool = False) -> None:
    """Give the complete, synced directory in target's workspace its name, durably, and remove its predecessor.

    locked: the caller holds the lock of target's directory (lock_target), which this would wait for forever.
    Raises OSError; the end of the workspace then restores the predecessor. Two renames replace a directory that has
    content: a process that is killed between them leaves the predecessor in the workspace, and the next process with
    this target restores it.
    """
    made = workspace / target.name
    identity = made.stat()
    # Processes that set aside or restore a directory here take this lock. It is taken within the try, so that an
    # interrupt never leaves a lock behind that the end of the workspace would wait for.
    lock = open_directory(target.parent)
    try:
        if not locked:
            wait_for_lock(lock)
        if overwrite:
            require_replaceable(target)
            if target.exists() and any(target.iterdir()):
                target.rename(set_aside_name(workspace, target))
        # replaces an empty directory and nothing else
        made.rename(target)
        sync_names(lock)
    except BaseException:
        # the disk tells whether the rename has happened: an interrupt may come between it and the next line
        if target.exists() and os.path.samestat(target.stat(), identity):
            target.rename(made)
        raise
    finally:
        # without contextlib.suppress: an interrupt before its first line would keep the lock
        try:  # noqa: SIM105
            os.close(lock)
        except OSError:
            pass
    try:
        remove_replaced(workspace, target)
    except OSError as error:
        raise WriteError(
            f"{target}: written, but the directory that stood there, now in {workspace}, cannot be removed: "
            f"{reason(error)}"
        ) from error
