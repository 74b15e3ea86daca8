"""The diagnosis names a file that was written as text, and no other displaced bytes."""

from __future__ import annotations

from pathlib import Path

import pytest
from helpers.mistake_files import diagnosed, written
from helpers.models import arrays, config

import reader_c

MODEL = config(vocab_size=61, hidden_dim=72)
RIGHT = arrays(MODEL)


def as_text(path: Path, kind: str, old: bytes, new: bytes) -> Path:
    written(path, MODEL, RIGHT, kind)
    content = path.read_bytes()
    with reader_c.open(path) as model:
        start = min(span.offset for name in model.names for span in model.spans(name))
    path.write_bytes((content[:start] + content[start:].replace(old, new)).ljust(len(content), b"\0")[: len(content)])
    return path


@pytest.mark.parametrize("kind", ["v0", "v2", "v3-fp32"])
def test_a_file_written_as_text_is_named(tmp_path: Path, kind: str) -> None:
    found = diagnosed(as_text(tmp_path / "x.bin", kind, b"\n", b"\r\n"), MODEL, RIGHT)
    assert found is not None
    assert (found.signature, found.explained > 0.8) == ("text-mode", True)
    assert "with a byte of 13 before each of 10, as if the file were written or copied as text" in found.sentence


@pytest.mark.parametrize(("old", "new"), [(b"\n", b"\t\n"), (b"\x0b", b"\r\n")])
def test_other_bytes_that_were_doubled_are_no_text(tmp_path: Path, old: bytes, new: bytes) -> None:
    found = diagnosed(as_text(tmp_path / "x.bin", "v0", old, new), MODEL, RIGHT)
    assert found is None or found.signature != "text-mode"
