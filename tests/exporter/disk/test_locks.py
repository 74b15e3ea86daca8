"""Locks between processes: one holder at a time, and none that outlives its process."""

from __future__ import annotations

import errno
import fcntl
import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from exporter.disk.locks import lock_target, try_lock, wait_for_lock
from exporter.errors import WriteError

# argv: a target. Holds its lock until it is killed.
HOLDING = """
import pathlib, sys, time
from exporter.disk.locks import lock_target

with lock_target(pathlib.Path(sys.argv[1])):
    print("locked", flush=True)
    time.sleep(60)
"""


def is_free(target: Path) -> bool:
    descriptor = os.open(target.parent, os.O_RDONLY)
    try:
        try_lock(descriptor)
    except BlockingIOError:
        return False
    finally:
        os.close(descriptor)
    return True


def test_a_lock_is_held_in_the_block_and_released_after_it(tmp_path: Path) -> None:
    target = tmp_path / "out"
    with lock_target(target):
        assert not is_free(target)
    assert is_free(target)
    with pytest.raises(RuntimeError), lock_target(target):
        raise RuntimeError
    assert is_free(target)
    assert list(tmp_path.iterdir()) == []


def test_a_second_holder_waits_for_the_first(tmp_path: Path) -> None:
    order: list[str] = []

    def second() -> None:
        with lock_target(tmp_path / "b"):
            order.append("second")

    thread = threading.Thread(target=second)
    # the lock is that of the directory
    with lock_target(tmp_path / "a"):
        thread.start()
        thread.join(0.2)
        order.append("first")
    thread.join()
    assert order == ["first", "second"]


def test_a_killed_process_releases_its_lock(tmp_path: Path) -> None:
    target = tmp_path / "out"
    process = subprocess.Popen(
        [sys.executable, "-c", HOLDING, target],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "locked\n"
    assert not is_free(target)
    process.kill()
    process.communicate()
    assert is_free(target)


def test_without_locks_nothing_waits_and_none_can_be_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refusing(_descriptor: int, _operation: int) -> None:
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr(fcntl, "flock", refusing)
    descriptor = os.open(tmp_path, os.O_RDONLY)
    try:
        wait_for_lock(descriptor)
        with pytest.raises(OSError, match="No locks available"):
            try_lock(descriptor)
    finally:
        os.close(descriptor)
    with lock_target(tmp_path / "out"):
        pass


def test_a_missing_directory_is_a_write_error(tmp_path: Path) -> None:
    target = tmp_path / "no" / "out"
    with pytest.raises(WriteError) as caught, lock_target(target):
        pass
    assert str(caught.value) == f"{target}: cannot be written: no such file or directory"
