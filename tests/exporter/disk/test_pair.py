"""published_with(): two names appear, or neither does, and what stood there stands there again."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from exporter.disk import publish as publishing
from exporter.disk.pair import published_with
from exporter.errors import NotLastingError, WriteError


@pytest.fixture
def made(tmp_path: Path) -> Path:
    room = tmp_path / "room"
    room.mkdir()
    path = room / "out"
    path.write_bytes(b"new")
    return path


@pytest.mark.parametrize("earlier", [None, b"old"])
def test_the_name_stays_where_the_block_succeeds(tmp_path: Path, made: Path, earlier: bytes | None) -> None:
    target = tmp_path / "out"
    if earlier:
        target.write_bytes(earlier)
    with published_with(made, target, overwrite=True):
        assert target.read_bytes() == b"new"
    assert target.read_bytes() == b"new"


@pytest.mark.parametrize("error", [WriteError("no"), KeyboardInterrupt()])
@pytest.mark.parametrize("earlier", [None, b"old"])
def test_the_name_is_taken_back_where_the_block_fails(
    tmp_path: Path, made: Path, earlier: bytes | None, error: BaseException
) -> None:
    target = tmp_path / "out"
    if earlier:
        target.write_bytes(earlier)
    with pytest.raises(type(error)), published_with(made, target, overwrite=True):
        raise error
    assert (target.read_bytes() if target.exists() else None) == earlier


def test_the_name_stays_where_the_other_file_has_its_own_but_may_lose_it(tmp_path: Path, made: Path) -> None:
    target = tmp_path / "out"
    with pytest.raises(NotLastingError), published_with(made, target, overwrite=False):
        raise NotLastingError("other")
    assert target.read_bytes() == b"new"


def test_a_name_that_exists_is_refused_before_the_block(tmp_path: Path, made: Path) -> None:
    target = tmp_path / "out"
    target.write_bytes(b"old")
    reached = False
    with pytest.raises(WriteError, match="file exists"), published_with(made, target, overwrite=False):
        reached = True
    assert (target.read_bytes(), reached) == (b"old", False)


@pytest.mark.parametrize("earlier", [None, b"old"])
def test_a_name_that_may_not_last_is_taken_back_before_the_block(
    tmp_path: Path, made: Path, earlier: bytes | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    def failing(_descriptor: int) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    target = tmp_path / "out"
    if earlier:
        target.write_bytes(earlier)
    monkeypatch.setattr(publishing, "sync_names", failing)
    with pytest.raises(NotLastingError), published_with(made, target, overwrite=True):
        pass
    assert (target.read_bytes() if target.exists() else None) == earlier


def test_somebody_else_s_file_is_not_removed(tmp_path: Path, made: Path) -> None:
    target = tmp_path / "out"
    with pytest.raises(WriteError), published_with(made, target, overwrite=False):
        (tmp_path / "theirs").write_bytes(b"theirs")
        (tmp_path / "theirs").replace(target)
        raise WriteError("no")
    assert target.read_bytes() == b"theirs"


@pytest.mark.parametrize("name", ["earlier", "e"])
def test_the_earlier_file_waits_under_a_name_of_its_own(tmp_path: Path, name: str) -> None:
    (tmp_path / "room").mkdir()
    made, target = tmp_path / "room" / name, tmp_path / name
    made.write_bytes(b"new")
    target.write_bytes(b"old")
    with pytest.raises(WriteError), published_with(made, target, overwrite=True):
        raise WriteError("no")
    assert target.read_bytes() == b"old"
