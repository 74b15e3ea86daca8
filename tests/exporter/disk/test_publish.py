"""publish(): a name goes from nothing or the old file to the new one in one step; errors say what stands there."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from exporter.disk.publish import publish, publish_directory
from exporter.errors import NotLastingError, WriteError


@pytest.fixture
def made(tmp_path: Path) -> Path:
    path = tmp_path / "made"
    path.write_bytes(b"new")
    return path


def failing_sync(_descriptor: int) -> None:
    raise OSError(errno.EIO, os.strerror(errno.EIO))


def test_a_file_gets_its_name(tmp_path: Path, made: Path) -> None:
    target = tmp_path / "out"
    publish(made, target, overwrite=False)
    assert target.read_bytes() == b"new"
    target.write_bytes(b"old")
    made = tmp_path / "again"
    made.write_bytes(b"newer")
    publish(made, target, overwrite=True)
    assert target.read_bytes() == b"newer"
    assert not made.exists()


def test_a_name_that_exists_is_refused_without_overwrite(tmp_path: Path, made: Path) -> None:
    target = tmp_path / "out"
    target.write_bytes(b"old")
    with pytest.raises(FileExistsError):
        publish(made, target, overwrite=False)
    assert target.read_bytes() == b"old"


@pytest.mark.parametrize("overwrite", [False, True])
def test_a_name_that_may_not_last_is_told_with_the_file_in_place(
    tmp_path: Path, made: Path, monkeypatch: pytest.MonkeyPatch, overwrite: bool
) -> None:
    monkeypatch.setattr(os, "fsync", failing_sync)
    target = tmp_path / "out"
    with pytest.raises(NotLastingError) as caught:
        publish(made, target, overwrite=overwrite)
    assert str(caught.value) == f"{target}: written, but a crash of the machine may undo it: input/output error"
    assert target.read_bytes() == b"new"


@pytest.mark.parametrize("overwrite", [False, True])
def test_a_directory_that_is_gone_is_an_error_before_anything_appears(
    tmp_path: Path, made: Path, overwrite: bool
) -> None:
    with pytest.raises(FileNotFoundError):
        publish(made, tmp_path / "no" / "out", overwrite=overwrite)
    assert [path.name for path in tmp_path.iterdir()] == ["made"]


def workspace_with(tmp_path: Path, content: bytes) -> Path:
    workspace = tmp_path / "workspace"
    (workspace / "out").mkdir(parents=True)
    (workspace / "out" / "config.json").write_bytes(content)
    return workspace


def test_a_directory_replaces_its_predecessor(tmp_path: Path) -> None:
    target = tmp_path / "out"
    for content in (b"{}", b"{ }"):
        workspace = workspace_with(tmp_path, content)
        publish_directory(workspace, target, overwrite=True)
        assert (target / "config.json").read_bytes() == content
        assert list(workspace.iterdir()) == []


def test_a_directory_whose_name_may_not_last_does_not_appear(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    target, workspace = tmp_path / "out", workspace_with(tmp_path, b"{}")
    monkeypatch.setattr(os, "fsync", failing_sync)
    with pytest.raises(OSError, match="Input/output error"):
        publish_directory(workspace, target, overwrite=True)
    assert not target.exists()
    assert (workspace / "out" / "config.json").exists()


def test_a_predecessor_that_cannot_be_removed_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    target = tmp_path / "out"
    publish_directory(workspace_with(tmp_path, b"old"), target, overwrite=True)
    workspace = workspace_with(tmp_path, b"new")

    def refusing(_path: Path) -> None:
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))

    monkeypatch.setattr(Path, "unlink", refusing)
    with pytest.raises(WriteError) as caught:
        publish_directory(workspace, target, overwrite=True)
    assert str(caught.value) == (
        f"{target}: written, but the directory that stood there, now in {workspace}, cannot be removed: "
        "permission denied"
    )
    assert (target / "config.json").read_bytes() == b"new"
