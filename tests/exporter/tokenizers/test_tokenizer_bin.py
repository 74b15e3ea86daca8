"""llama2.c's tokenizer.bin as a source."""

from __future__ import annotations

import struct
from pathlib import Path

import pytest
from helpers.tokenizer_bins import byte_entries, content, save

from exporter.errors import CheckpointError
from exporter.tokenizers.read import read_tokenizer

ENTRIES = [*byte_entries(), (b" ", -1.0), (b" a", -2.0), (b"a", -3.0)]


def test_what_run_c_does_is_what_the_file_means(tmp_path: Path) -> None:
    model = read_tokenizer(save(tmp_path / "tokenizer.bin", ENTRIES))
    assert (model.kind, model.space_first, model.byte_fallback, model.begins_with_bos) == ("characters", *[True] * 3)
    assert model.pieces[1:4] == (b"\n<s>\n", b"\n</s>\n", b"<0x00>")
    assert model.pieces[259:] == ("\u2581".encode(), "\u2581a".encode(), b"a")
    assert model.scores is not None
    assert model.scores[259:] == (-1.0, -2.0, -3.0)
    assert (model.bos, model.eos, model.unk, model.eos_ids, model.reserved) == (1, 2, 0, (2,), frozenset())
    assert read_tokenizer(tmp_path) == model


LAST = len(ENTRIES)


@pytest.mark.parametrize(
    ("file", "message"),
    [
        (
            content([*ENTRIES, ("x\u2581".encode(), 0.0)]),
            f"token {LAST}: expected a space, found U+2581, which stands for one",
        ),
        (content([*ENTRIES, (b"a\0", 0.0)]), f"token {LAST}: expected no zero byte, found one"),
        (content([*ENTRIES, (b"a", 0.0)]), f"token {LAST}: expected a new piece, found that of {LAST - 1}"),
        (content([*ENTRIES, (b"x", float("inf"))]), f"token {LAST}: score: expected a finite number, found inf"),
        (content(ENTRIES)[:-1], f"token {LAST - 1}: length: expected 1 to 0, found 1"),
        (content(ENTRIES) + b"abc", f"token {LAST}: expected 8 bytes, found 3"),
        (content(ENTRIES) + struct.pack("<fi", 0, 9) + bytes(9), f"token {LAST}: length: expected 1 to 6, found 9"),
        (content([(b"<unk>", 0.0), (b"a", 0.0)]), "token 3: expected <0x00>, found another piece"),
        (b"", "expected a tokenizer, found none of a known format: give its tokenizer.json"),
        (bytes(40), "expected a tokenizer, found none of a known format: give its tokenizer.json"),
        (b"PK\x03\x04" + bytes(40), "expected a tokenizer, found none of a known format: give its tokenizer.json"),
    ],
)
def test_damaged_files_are_refused_at_their_place(tmp_path: Path, file: bytes, message: str) -> None:
    path = tmp_path / "tokenizer.bin"
    path.write_bytes(file)
    with pytest.raises(CheckpointError) as refused:
        read_tokenizer(path)
    assert str(refused.value) == f"{path}: {message}"
