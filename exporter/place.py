"""Files and directories that appear under their name whole or not at all, and leave nothing else, even where the
process is killed: what it was at stands in a workspace beside the target, which the next one there clears away."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import re
import secrets
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from exporter.errors import WriteError
from exporter.publish import open_directory, publish, reason, sync_directory, sync_names, told_of


def resolve_target(out: Path, *, overwrite: bool) -> Path:
    """The file that will appear, links followed. Raises WriteError where something is in its way."""
    target = _followed(out)
    if target.exists() and not target.is_file():
        raise WriteError(f"{out}: expected a regular file or nothing, found something else")
    if target.exists() and not overwrite:
        raise WriteError(f"{out}: expected nothing there, found a file (overwriting must be asked for)")
    if not target.parent.is_dir():
        raise WriteError(f"{out}: expected a directory at {target.parent}, found none")
    return target


def _followed(out: Path) -> Path:
    """out without links. Raises WriteError."""
    try:
        with told_of(out):
            return out.resolve()
    except RuntimeError as error:
        raise WriteError(f"{out}: expected a file or nothing, found links that lead in a circle") from error


@contextlib.contextmanager
def appearing(target: Path, *, overwrite: bool) -> Iterator[BinaryIO]:
    """A temporary file that takes target's name when the block ends, and vanishes when it fails."""
    with told_of(target), workspace(target) as room:
        temporary = room / target.name
        with temporary.open("xb+") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        publish(temporary, target, overwrite=overwrite)


# ---- where a target is made ----


@contextlib.contextmanager
def workspace(target: Path) -> Iterator[Path]:
    """A private directory beside target, on its file system, removed at the end with all that is left in it.

    What is made in it for target is named as target is; the names that begin so and go on are the workspace's own.
    Those of the same target that killed processes left are removed before: each is held by a lock on a file in it,
    which the system gives up when the process ends. Raises WriteError where none can be made.
    """
    clear_stale(target)
    room = _unused_name(target)
    lock: int | None = None
    # an interrupt may come after any line: what there is by then is removed
    try:
        while (lock := _make(room, target)) is None:
            room = _unused_name(target)
        yield room
    finally:
        try:
            _retire(room, target)
        except BaseException:
            # interrupted: once more, and on with it
            _retire(room, target)
            raise
        finally:
            if lock is not None:
                _let_go(lock, room)


def clear_stale(target: Path) -> None:
    """Remove the workspaces of target that no living process holds; bring back a directory that stood at target
    when one was killed between two renames. What cannot be removed, or locked on this file system, stays."""
    named = re.compile(rf"\.{re.escape(target.name)}\.[0-9a-f]{{8}}\.partial")
    with contextlib.suppress(OSError):
        rooms = [path for path in target.parent.iterdir() if named.fullmatch(path.name)]
        for room in rooms:
            if room.is_dir() and not room.is_symlink():
                _clear_unless_held(room, target)


def _clear_unless_held(room: Path, target: Path) -> None:
    with contextlib.suppress(OSError):
        # made where it is missing: its process was killed first, or is about to look for it
        lock = os.open(_lock_file(room, target), os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if _is_at(lock, _lock_file(room, target)):
                _retire(room, target)
        finally:
            _let_go(lock, room)


def _unused_name(target: Path) -> Path:
    return target.with_name(f".{target.name}.{secrets.token_hex(4)}.partial")


def _make(room: Path, target: Path) -> int | None:
    """A descriptor of the new workspace's lock, held while it is open. None where the name was in use after all, or
    where another process took the workspace for a stale one before it was locked. Raises WriteError."""
    file = _lock_file(room, target)
    with told_of(target):
        try:
            room.mkdir(mode=0o700)
        except FileExistsError:
            return None
        try:
            lock = os.open(file, os.O_RDWR | os.O_CREAT, 0o600)
        except FileNotFoundError:
            return None
        _wait_for(lock)
        if _is_at(lock, file):
            return lock
        os.close(lock)
        return None


def _wait_for(lock: int) -> None:
    """Where this file system has no locks, nobody can get one: nobody removes another's workspace, then."""
    with contextlib.suppress(OSError):
        fcntl.flock(lock, fcntl.LOCK_EX)


def _let_go(lock: int, room: Path) -> None:
    # nothing was written through it
    with contextlib.suppress(OSError):
        os.close(lock)
    # NFS keeps an open file's directory until the file is closed
    with contextlib.suppress(OSError):
        room.rmdir()


def _is_at(descriptor: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(descriptor), path.stat())
    except FileNotFoundError:
        return False


def _retire(room: Path, target: Path) -> None:
    """Remove a workspace. A directory that was set aside in it is brought back where target is missing. What cannot
    be done is left to the next one."""
    with contextlib.suppress(OSError):
        old = _set_aside(room, target)
        if old.is_dir():
            turn = open_directory(target.parent)
            try:
                _wait_for(turn)
                if not os.path.lexists(target):
                    old.rename(target)
            finally:
                # no function of Python's on the way: an interrupt before its first line would leave the lock
                try:  # noqa: SIM105
                    os.close(turn)
                except OSError:
                    pass
        _remove_old(room, target)
        shutil.rmtree(room)


def _lock_file(room: Path, target: Path) -> Path:
    return room / f"{target.name}.lock"


@contextlib.contextmanager
def turn_at(target: Path) -> Iterator[None]:
    """Those who publish several things about one target do it one after the other, where this file system has locks.
    An interrupt may end a turn late: nothing that follows in this process may wait for one. Raises WriteError."""
    with told_of(target):
        turn = open_directory(target.parent)
    try:
        _wait_for(turn)
        yield
    finally:
        with contextlib.suppress(OSError):
            os.close(turn)


# ---- directories ----


def resolve_directory_target(out: Path, *, overwrite: bool) -> Path:
    """The directory that will appear, links followed. Raises WriteError where something is in its way."""
    target = _followed(out)
    with told_of(out):
        if not target.parent.is_dir():
            raise WriteError(f"{out}: expected a directory at {target.parent}, found none")
        # what a killed process had set aside is what stands there
        clear_stale(target)
        turn = open_directory(target.parent)
        try:
            # not while another has just set it aside: it would be there for one look and gone for the next
            _wait_for(turn)
            if target.exists() and not target.is_dir():
                raise WriteError(f"{out}: expected a directory or nothing, found something else")
            if target.exists() and not overwrite:
                raise WriteError(f"{out}: expected nothing there, found a directory (overwriting must be asked for)")
            _check_replaceable(target)
        finally:
            try:  # noqa: SIM105  # as in _retire
                os.close(turn)
            except OSError:
                pass
    return target


@contextlib.contextmanager
def appearing_directory(target: Path, *, overwrite: bool) -> Iterator[Path]:
    """A temporary directory that takes target's name when the block ends, and vanishes when it fails.
    The block syncs the files that it writes."""
    with told_of(target), workspace(target) as room:
        temporary = room / target.name
        temporary.mkdir()
        yield temporary
        sync_directory(temporary)
        publish_directory(room, target, overwrite=overwrite)


def publish_directory(room: Path, target: Path, *, overwrite: bool) -> None:
    """Give the complete, synced directory in target's workspace its name, durably; what had the name is removed.

    Raises OSError; then the workspace's end brings back what was there. A directory with content cannot be replaced
    in one step: who is killed between two renames leaves the old one in the workspace, and the next one there brings
    it back.
    """
    made = room / target.name
    identity = made.stat()
    # those who set aside or bring back a directory here take turns; locked within the try, so that an interrupt never
    # leaves a lock behind that the workspace's end would wait for
    turn = open_directory(target.parent)
    try:
        _wait_for(turn)
        if overwrite:
            _check_replaceable(target)
            if target.exists() and any(target.iterdir()):
                target.rename(_set_aside(room, target))
        # replaces an empty directory and nothing else
        made.rename(target)
        sync_names(turn)
    except BaseException:
        # what has happened is told by the disk: an interrupt may come between a rename and the next line
        if target.exists() and os.path.samestat(target.stat(), identity):
            target.rename(made)
        raise
    finally:
        try:  # noqa: SIM105  # as in _retire
            os.close(turn)
        except OSError:
            pass
    try:
        _remove_old(room, target)
    except OSError as error:
        raise WriteError(
            f"{target}: written, but what was there, in {room}, cannot be removed: {reason(error)}"
        ) from error


def _set_aside(room: Path, target: Path) -> Path:
    """Where the directory that had target's name waits until another has it."""
    return room / f"{target.name}.old"


def _remove_old(room: Path, target: Path) -> None:
    """Remove what another has replaced. It gets a third name first: half of it must never be brought back. Not
    recursive, so that never more is removed than was looked at."""
    replaced = room / f"{target.name}.replaced"
    with contextlib.suppress(FileNotFoundError):
        _set_aside(room, target).rename(replaced)
    if replaced.exists():
        for path in replaced.iterdir():
            path.unlink()
        replaced.rmdir()


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
        raise WriteError(f"{target}: cannot be overwritten: {reason(error)}") from error
