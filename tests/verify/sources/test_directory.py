"""Which files of a directory may be opened, and whether they are still the same."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from verify.errors import CannotJudgeError
from verify.sources.directory import SourceDirectory, expect_no_pointer
from verify.sources.links import expect_followable
from verify.sources.unchanged_files import UnchangedFiles, identity

POINTER = b"version https://git-lfs.github.com/spec/v1\n"


def refused(call: Callable[[], object]) -> str:
    with pytest.raises(CannotJudgeError) as caught:
        call()
    return str(caught.value)


def test_a_pointer_of_git_lfs_is_told(tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    path.write_bytes(POINTER)
    message = f"{path}: expected the file itself, found a Git LFS pointer to it: run git lfs pull"
    assert refused(lambda: expect_no_pointer(path)) == message
    assert refused(lambda: SourceDirectory(tmp_path).take(path.name)) == message
    for content in (b"x" + POINTER, POINTER[:39], b""):
        path.write_bytes(content)
        expect_no_pointer(path)
    assert refused(lambda: expect_no_pointer(tmp_path / "none")) == f"{tmp_path / 'none'}: no such file or directory"


def test_files_are_read_with_their_digests(tmp_path: Path) -> None:
    directory = SourceDirectory(tmp_path)
    (tmp_path / "a.json").write_text('{"a": 1}')
    (tmp_path / "b").write_bytes(b"weights")
    assert [directory.has(name) for name in ("a.json", "none", ".")] == [True, False, False]
    assert directory.read_json("a.json") == {"a": 1}
    assert directory.take("b") == tmp_path / "b"
    assert directory.digests == {
        "a.json": hashlib.sha256(b'{"a": 1}').hexdigest(),
        "b": hashlib.sha256(b"weights").hexdigest(),
    }
    directory.expect_unchanged()
    (tmp_path / "b").write_bytes(b"WEIGHTS")
    assert refused(directory.expect_unchanged) == f"{tmp_path / 'b'}: changed while it was being read"


def test_json_has_at_most_ten_million_bytes(tmp_path: Path) -> None:
    path, beginning = tmp_path / "a.json", b'{"a": 1'
    path.write_bytes(beginning.ljust(10_000_000 - 1) + b"}")
    assert SourceDirectory(tmp_path).read_json("a.json") == {"a": 1}
    path.write_bytes(beginning.ljust(10_000_000) + b"}")
    assert "10000000" in refused(lambda: SourceDirectory(tmp_path).read_json("a.json")).replace(",", "")


def test_only_regular_files_are_opened(tmp_path: Path) -> None:
    directory = SourceDirectory(tmp_path)
    os.mkfifo(tmp_path / "fifo")
    (tmp_path / "inner").mkdir()
    for name in ("fifo", "inner"):
        assert refused(lambda name=name: directory.note(name)) == (  # type: ignore[misc]
            f"{tmp_path / name}: expected a file, found no regular file"
        )
    assert refused(lambda: directory.note("none")) == f"{tmp_path / 'none'}: no such file or directory"
    assert directory.followable("none") == tmp_path / "none"


def test_a_link_out_of_a_directory_needs_the_users_word(tmp_path: Path) -> None:
    inside = tmp_path / "source"
    inside.mkdir()
    (tmp_path / "out").write_bytes(b"x")
    (inside / "real").write_bytes(b"x")
    (inside / "near").symlink_to("real")
    (inside / "far").symlink_to("../out")
    (inside / "broken").symlink_to("../none")
    for name in ("real", "near", "broken", "none"):
        expect_followable(inside / name, follow_links=False)
    message = (
        f"{inside / 'far'}: expected a file in its directory, found a link out of it: give --follow-links if you "
        "trust it"
    )
    assert refused(lambda: expect_followable(inside / "far", follow_links=False)) == message
    for call in (SourceDirectory(inside).note, SourceDirectory(inside).followable):
        assert refused(lambda call=call: call("far")) == message  # type: ignore[misc]
    trusting = SourceDirectory(inside, follow_links=True)
    assert trusting.note("far") == trusting.followable("far") == inside / "far"
    expect_followable(inside / "far", follow_links=True)


@pytest.mark.parametrize(
    ("place", "allowed"),
    [
        ("models--org--name/blobs/digest", True),
        ("models--name/blobs/digest", False),
        ("datasets--org--name/blobs/digest", False),
        ("models--org--name/snapshots/digest", False),
        ("blobs/models--org--name/digest", False),
        ("models--org--name/x/blobs/digest", False),
        ("models--org--name/blobs", False),
    ],
)
def test_a_link_into_the_hubs_cache_may_be_followed(tmp_path: Path, place: str, allowed: bool) -> None:
    target = tmp_path / place
    target.parent.mkdir(parents=True)
    target.write_bytes(b"x")
    link = tmp_path / "source" / "config.json"
    link.parent.mkdir()
    link.symlink_to(target)
    if allowed:
        expect_followable(link, follow_links=False)
    else:
        assert "found a link out of it" in refused(lambda: expect_followable(link, follow_links=False))


def test_the_tokenizer_and_what_is_read_with_it_stay_in_the_directory(tmp_path: Path) -> None:
    inside = tmp_path / "source"
    inside.mkdir()
    assert SourceDirectory(inside).tokenizer() == inside / "tokenizer.model"
    (tmp_path / "out").write_bytes(b"x")
    for name in ("vocab.json", "merges.txt"):
        (inside / name).write_bytes(b"x")
    assert SourceDirectory(inside).tokenizer() == inside / "vocab.json"
    (inside / "added_tokens.json").symlink_to("../out")
    assert refused(SourceDirectory(inside).tokenizer).startswith(
        f"{inside / 'added_tokens.json'}: expected a file in"
    )


def test_a_file_that_was_replaced_or_touched_is_another(tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.write_bytes(b"x")
    first = identity(path)
    assert first == identity(os.fspath(path))
    files = UnchangedFiles(path)
    files.expect_unchanged()
    os.utime(path, ns=(first[3], first[3]))  # the mtime is put back, the ctime is not
    assert refused(files.expect_unchanged) == f"{path}: changed while it was being read"
    files.note(path)
    files.expect_unchanged()
    path.unlink()
    assert refused(files.expect_unchanged) == f"{path}: no such file or directory"
    assert refused(lambda: UnchangedFiles(Path("a\0b"))) == "a\0b: embedded null byte"
