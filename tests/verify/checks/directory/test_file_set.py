"""Files of a directory: which count, their digests, and what has changed."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import pytest

from verify.checks.directory import file_set
from verify.checks.directory.file_set import FileSet
from verify.errors import CannotJudgeError


@pytest.fixture
def files(tmp_path: Path) -> Path:
    directory = tmp_path / "model"
    directory.mkdir()
    for name, content in (("b.json", b"b"), ("a.safetensors", b"aaaa"), (".hidden", b"h")):
        (directory / name).write_bytes(content)
    (directory / "folder").mkdir()
    return directory


def digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def test_all_visible_files_count_in_the_order_of_their_names(files: Path) -> None:
    found = FileSet(files)
    assert list(found.digests.items()) == [("a.safetensors", digest(b"aaaa")), ("b.json", digest(b"b"))]
    assert found.bytes == 5
    assert found.sha256 == digest(f"{digest(b'aaaa')}  a.safetensors\n{digest(b'b')}  b.json\n".encode())


def test_of_named_files_those_that_are_there_count(files: Path) -> None:
    assert list(FileSet(files, {"b.json", ".hidden", "none", "folder"}).digests) == [".hidden", "b.json"]
    assert FileSet(files, ()).digests == {}
    assert (FileSet(files, ()).bytes, FileSet(files, ()).sha256) == (0, digest(b""))


def test_unchanged_files_are_unchanged_whatever_else_appears(files: Path) -> None:
    every, one = FileSet(files), FileSet(files, {"b.json"})
    every.expect_unchanged()
    (files / ".other").touch()
    every.expect_unchanged()
    (files / "c").touch()
    one.expect_unchanged()
    with pytest.raises(CannotJudgeError) as caught:
        every.expect_unchanged()
    assert str(caught.value) == f"{files / 'c'}: changed while it was being judged"


@pytest.mark.parametrize("how", ["written", "removed", "replaced", "longer"])
def test_each_change_is_named(files: Path, how: str) -> None:
    found = FileSet(files)
    path = files / "b.json"
    if how == "removed":
        path.unlink()
    elif how == "replaced":
        (files / "new").write_bytes(b"b")
        (files / "new").replace(path)
    else:
        path.write_bytes(b"B" if how == "written" else b"bb")
    with pytest.raises(CannotJudgeError) as caught:
        found.expect_unchanged()
    assert str(caught.value) == f"{path}: changed while it was being judged"


def test_bytes_count_where_the_clock_shows_no_change(files: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = FileSet(files)
    before = dict(found._identities)
    (files / "b.json").write_bytes(b"B")
    monkeypatch.setattr(FileSet, "_look", lambda _self: before)
    with pytest.raises(CannotJudgeError, match=r"b\.json: changed while it was being judged$"):
        found.expect_unchanged()


def test_what_no_verdict_may_read_is_refused(files: Path, tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("s")
    (files / "link").symlink_to(tmp_path / "secret")
    with pytest.raises(CannotJudgeError) as caught:
        FileSet(files)
    assert str(caught.value) == (
        f"{files / 'link'}: expected a file in its directory, found a link out of it: replace the link by the file"
    )
    (files / "link").unlink()
    os.mkfifo(files / "fifo")
    with pytest.raises(CannotJudgeError) as caught:
        FileSet(files)
    assert str(caught.value) == f"{files / 'fifo'}: expected a file, found no regular file"
    (files / "fifo").unlink()
    (files / "a\nb").touch()
    with pytest.raises(CannotJudgeError) as caught:
        FileSet(files)
    assert str(caught.value) == f"{files}: expected printable names of files, found 'a\\nb'"
    (files / "a\nb").rename(files / ("\n" + "x" * 100))
    with pytest.raises(CannotJudgeError) as caught:
        FileSet(files)
    assert str(caught.value).endswith(f"found '\\n{'x' * 79}'")


def test_a_directory_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CannotJudgeError) as caught:
        FileSet(tmp_path / "none")
    assert str(caught.value) == f"{tmp_path / 'none'}: no such file or directory"


@pytest.mark.parametrize(("error", "where"), [(OSError(5, "Odd", "a/file"), "a/file"), (OSError(5, "Odd"), None)])
def test_what_the_system_refuses_is_named_by_its_own_path_if_it_says_one(
    files: Path, monkeypatch: pytest.MonkeyPatch, error: OSError, where: str | None
) -> None:
    def refuse(_path: Path) -> None:
        raise error

    monkeypatch.setattr(file_set, "_identity", refuse)
    with pytest.raises(CannotJudgeError) as caught:
        FileSet(files)
    assert str(caught.value) == f"{where or files}: odd"


def test_a_file_that_cannot_be_read_is_named(files: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(file_set.hashlib, "file_digest", refuse)
    with pytest.raises(CannotJudgeError) as caught:
        FileSet(files)
    assert str(caught.value) == f"{files / 'a.safetensors'}: input/output error"
