"""What a user may say about a source, and which of its files may be opened."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import exporter
from exporter.sources.options import SourceOptions
from exporter.sources.source_files import check_file, check_named_file, first_bytes, refuse_pointer

KINDS = {"llama2c", "meta", "huggingface", "v3", "bin"}


def refused(call: Callable[[], object]) -> str:
    with pytest.raises(exporter.CheckpointError) as caught:
        call()
    return str(caught.value)


@pytest.mark.parametrize(
    ("option", "told", "kinds"),
    [
        ({"rope_theta": 1.0}, "--rope-theta (rope_theta= in Python)", ["meta"]),
        ({"rope_scaling_factor": 0.0}, "--rope-scaling-factor (rope_scaling_factor= in Python)", ["meta"]),
        ({"adapter": Path()}, "--adapter (adapter= in Python)", ["huggingface"]),
        ({"tied": True}, "--tied (tied= in Python)", ["llama2c", "meta"]),
        ({"tied": False}, "--untied (tied= in Python)", ["llama2c", "meta"]),
        ({"max_seq_len": 3, "follow_links": True}, "", sorted(KINDS)),
    ],
)
def test_an_option_is_refused_by_the_kinds_that_do_not_take_it(
    option: dict[str, Any], told: str, kinds: list[str]
) -> None:
    for kind in kinds:
        SourceOptions(**option).refuse_for(kind)
    for kind in KINDS.difference(kinds):
        assert refused(lambda kind=kind: SourceOptions(**option).refuse_for(kind)) == (  # type: ignore[misc]
            f"{told}: expected a source of kind {' or '.join(kinds)}, found {kind}"
        )


def test_options_are_silent_unless_they_are_given() -> None:
    assert dataclasses.astuple(SourceOptions()) == (None, False, None, None, None, None)


POINTER = b"version https://git-lfs.github.com/spec/v1\n"


def test_a_pointer_of_git_lfs_is_told(tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    path.write_bytes(POINTER)
    message = f"{path}: expected the file itself, found a Git LFS pointer to it: run git lfs pull in its directory"
    for call in (refuse_pointer, check_named_file, lambda path: check_file(path, follow_links=True)):
        assert refused(lambda call=call: call(path)) == message  # type: ignore[misc]
    for content in (b"x" + POINTER, POINTER[:39], b""):
        path.write_bytes(content)
        check_file(path, follow_links=False)


def test_the_first_bytes_of_a_file(tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.write_bytes(b"abc")
    assert [first_bytes(path, count) for count in (0, 2, 3, 4)] == [b"", b"ab", b"abc", b"abc"]
    assert refused(lambda: first_bytes(tmp_path / "none", 1)) == f"{tmp_path / 'none'}: no such file or directory"


def test_only_regular_files_are_opened(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    (tmp_path / "inner").mkdir()
    for name, found in (("fifo", "no regular file"), ("inner", "a directory"), ("none", "no regular file")):
        path = tmp_path / name
        assert refused(lambda path=path: check_named_file(path)) == (  # type: ignore[misc]
            f"{path}: expected a file, found {found}"
        )
    none = tmp_path / "none"
    assert refused(lambda: check_file(none, follow_links=True)) == f"{none}: no such file or directory"


def test_a_link_out_of_a_directory_needs_the_users_word(tmp_path: Path) -> None:
    inside = tmp_path / "source"
    (inside / "deep").mkdir(parents=True)
    for path in (tmp_path / "out", inside / "real", inside / "deep" / "real"):
        path.write_bytes(b"x")
    for name, target in (("near", "real"), ("down", "deep/real"), ("far", "../out"), ("broken", "../none")):
        (inside / name).symlink_to(target)
    (inside / "circle").symlink_to("circle")
    for name in ("real", "near", "down"):
        check_file(inside / name, follow_links=False)
    check_file(inside / "far", follow_links=True)
    for name in ("far", "broken"):
        path = inside / name
        assert refused(lambda path=path: check_file(path, follow_links=False)) == (  # type: ignore[misc]
            f"{path}: expected a file in this directory, found a link out of it: give --follow-links if you trust it"
        )
    for follow_links in (True, False):
        assert refused(lambda follow=follow_links: check_file(inside / "circle", follow_links=follow)) == (  # type: ignore[misc]
            f"{inside / 'circle'}: expected a file, found no regular file"
        )


@pytest.mark.parametrize(
    ("place", "allowed"),
    [
        ("models--org--name/blobs/digest", True),
        ("models--name/blobs/digest", False),
        ("datasets--org--name/blobs/digest", False),
        ("models--org--name/snapshots/digest", False),
        ("blobs/models--org--name/digest", False),
        ("models--org--name/x/blobs/digest", False),
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
        check_file(link, follow_links=False)
    else:
        assert "found a link out of it" in refused(lambda: check_file(link, follow_links=False))
