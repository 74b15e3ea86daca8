"""Names in a directory are made durable; a file system that cannot is no error, and a failing disk is one."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from exporter.disk.sync import open_directory, sync_directory, sync_names


def failing(number: int) -> object:
    def fsync(_descriptor: int) -> None:
        raise OSError(number, os.strerror(number))

    return fsync


def open_files() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


def test_a_directory_is_synced_and_closed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    synced: list[os.stat_result] = []
    monkeypatch.setattr(os, "fsync", lambda descriptor: synced.append(os.fstat(descriptor)))
    before = open_files()
    sync_directory(tmp_path)
    assert [os.path.samestat(found, tmp_path.stat()) for found in synced] == [True]
    assert open_files() == before


@pytest.mark.parametrize("number", [errno.EINVAL, errno.ENOTSUP])
def test_a_file_system_without_such_a_sync_is_no_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    monkeypatch.setattr(os, "fsync", failing(number))
    sync_directory(tmp_path)


def test_a_failing_disk_is_an_error_and_leaves_nothing_open(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "fsync", failing(errno.EIO))
    before = open_files()
    with pytest.raises(OSError, match="Input/output error"):
        sync_directory(tmp_path)
    assert open_files() == before
    descriptor = open_directory(tmp_path)
    with pytest.raises(OSError, match="Input/output error"):
        sync_names(descriptor)
    os.close(descriptor)


def test_a_file_is_no_directory(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(NotADirectoryError):
        open_directory(tmp_path / "file")
