"""A file's identity differs once it is replaced or written to."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from helpers.changing import write_unseen

import exporter
from exporter.file_identity import identity, refuse_changed


def test_reading_does_not_change_it_and_writing_or_replacing_does(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"content")
    opened = identity(path)
    path.read_bytes()
    refuse_changed(path, opened)
    # the same bytes and the same mtime, by another inode and then in place
    copy = tmp_path / "copy"
    copy.write_bytes(b"content")
    os.utime(copy, ns=(path.stat().st_atime_ns, path.stat().st_mtime_ns))
    copy.replace(path)
    message = f"{path}: changed while it was being read; retry when no other program writes to it"
    with pytest.raises(exporter.CheckpointError) as caught:
        refuse_changed(path, opened)
    assert str(caught.value) == message
    opened = identity(path)
    write_unseen(path, b"content")
    with pytest.raises(exporter.CheckpointError) as caught:
        refuse_changed(path, opened)
    assert str(caught.value) == message


def test_what_is_gone_is_refused_with_the_reason(tmp_path: Path) -> None:
    with pytest.raises(exporter.CheckpointError) as caught:
        identity(tmp_path / "gone")
    assert str(caught.value) == f"{tmp_path / 'gone'}: no such file or directory"
