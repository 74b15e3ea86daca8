"""A file that changes while it is read or used: refused, or without effect; never a signal."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import pytest
from helpers.models import same_bits

import exporter
import reader_c
from verify.demo import CHECKPOINT

TOKENS = [1, 17, 42, 5]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    out = tmp_path / "model.bin"
    exporter.export(exporter.open_checkpoint(CHECKPOINT), out, format="v3", storage="q8_0")
    return out


def shrink(path: Path) -> None:
    os.truncate(path, 100)


def overwrite(path: Path) -> None:
    path.write_bytes(b"\xff" * path.stat().st_size)


def replace(path: Path) -> None:
    other = path.with_name("other")
    other.write_bytes(b"other")
    other.replace(path)


@pytest.mark.parametrize("change", [shrink, overwrite, replace, Path.unlink])
def test_an_open_model_stays_what_was_checked(path: Path, change: object) -> None:
    with reader_c.open(path) as model:
        before = model.forward(TOKENS)
        change(path)  # type: ignore[operator]
        assert same_bits(model.forward(TOKENS), before)
        model.check_digests()


def test_a_map_keeps_the_head_that_was_checked(path: Path) -> None:
    with reader_c.open(path, mapped=True) as model, reader_c.open(path) as copy:
        content = bytearray(path.read_bytes())
        content[256 : model.head_size] = bytes(model.head_size - 256)
        path.write_bytes(content)
        assert [model.spans(name) for name in model.names] == [copy.spans(name) for name in copy.names]


def test_a_map_and_a_copy_compute_the_same(path: Path) -> None:
    with reader_c.open(path, mapped=True) as mapped, reader_c.open(path, mapped=False) as copy:
        assert mapped.content == copy.content
        assert same_bits(mapped.forward(TOKENS), copy.forward(TOKENS))


def test_a_file_that_is_cut_and_restored_while_it_is_opened_is_whole_or_refused(path: Path) -> None:
    content, stop = path.read_bytes(), threading.Event()

    def disturb() -> None:
        while not stop.is_set():
            os.truncate(path, len(content) // 2)
            path.write_bytes(content)

    other = threading.Thread(target=disturb)
    other.start()
    try:
        for _ in range(200):
            try:
                with reader_c.open(path) as model:
                    assert bytes(model.content) == content
            except reader_c.InvalidFileError:
                pass
    finally:
        stop.set()
        other.join()


def test_a_file_that_is_replaced_while_it_is_opened_is_the_old_one_or_the_new_one(path: Path) -> None:
    """As a release replaces it: that takes a name from the old file, whose ctime it changes."""
    content, stop = path.read_bytes(), threading.Event()

    def release() -> None:
        while not stop.is_set():
            other = path.with_name("other")
            other.write_bytes(content)
            other.replace(path)

    other = threading.Thread(target=release)
    other.start()
    try:
        for _ in range(200):
            with reader_c.open(path) as model:
                assert model.content == content
    finally:
        stop.set()
        other.join()
