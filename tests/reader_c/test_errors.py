"""The reader's errors: one root, a line of text, and the same after a process border."""

from __future__ import annotations

import errno
import pickle
from pathlib import Path

import pytest

import reader_c
from reader_c.errors import remark_on_kind


def test_errors_survive_a_process_border() -> None:
    error = reader_c.InvalidFileError("f.bin", "n_heads", 12, "at least 1", "0")
    again = pickle.loads(pickle.dumps(error))
    assert str(again) == str(error) == "f.bin: n_heads at 12: expected at least 1, found 0"
    assert (again.field, again.offset, again.expected, again.found) == ("n_heads", 12, "at least 1", "0")
    assert isinstance(error, ValueError)


@pytest.mark.parametrize(
    ("kind", "base"),
    [
        (reader_c.InvalidFileError, ValueError),
        (reader_c.ArgumentError, ValueError),
        (reader_c.ReaderMemoryError, MemoryError),
        (reader_c.ReaderSystemError, OSError),
        (reader_c.ClosedError, Exception),
    ],
)
def test_every_error_has_the_root_and_python_s_own_base(kind: type[Exception], base: type[Exception]) -> None:
    assert issubclass(kind, reader_c.ReaderError)
    assert issubclass(kind, base)


def test_a_system_error_says_the_reason_and_keeps_its_number() -> None:
    error = reader_c.ReaderSystemError("f.bin", "file", errno.EACCES)
    for same in (error, pickle.loads(pickle.dumps(error))):
        assert str(same) == "f.bin: file: expected a readable regular file, found permission denied"
        assert (same.errno, same.offset) == (errno.EACCES, None)


@pytest.mark.parametrize(
    ("start", "remark"),
    [
        (b"GGUF\3\0\0\0", " (is it a GGUF file?)"),
        (b"PK\3\4", " (is it a zip archive, as a PyTorch checkpoint is?)"),
        (b"ak42", " (is it a big-endian llama2.c file?)"),
        (b"\x80\2", " (is it a pickle, as an old PyTorch checkpoint is?)"),
        (b"\x89HDF", " (is it an HDF5 file?)"),
        ((100).to_bytes(8, "little") + b"{", " (is it a safetensors file?)"),
        ((1 << 32).to_bytes(8, "little") + b"{", " (no magic at byte 0, so read as v0)"),
        (b"", " (no magic at byte 0, so read as v0)"),
        (b"24ka", ""),
    ],
)
def test_the_kind_of_a_file_is_guessed_from_its_first_bytes(tmp_path: Path, start: bytes, remark: str) -> None:
    path = tmp_path / "file"
    path.write_bytes(start)
    assert remark_on_kind(str(path)) == remark


def test_of_a_file_that_cannot_be_read_nothing_is_guessed(tmp_path: Path) -> None:
    assert remark_on_kind(str(tmp_path / "gone")) == ""
