"""llama2.c's tokenizer.bin as a source."""

from __future__ import annotations

import struct
from pathlib import Path

import pytest
from helpers.tokenizer_bins import byte_entries, content, save

from exporter.errors import CheckpointError
from exporter.tokenizers.read import read_tokenizer
from exporter.tokenizers.tokenizer_bin import is_tokenizer_bin

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


@pytest.mark.parametrize(
    ("longest", "score", "length", "fits"),
    [
        (1, 0.0, 1, True),
        (65536, -1.0, 65536, True),
        (65537, 0.0, 1, False),
        (4, 0.0, 5, False),
        (4, 0.0, 0, False),
        (4, float("nan"), 1, False),
        (4, float("inf"), 1, True),
    ],
)
def test_a_small_number_and_a_first_entry_that_fits_it_tell_the_format(
    longest: int, score: float, length: int, fits: bool
) -> None:
    start = struct.pack("<ifi", longest, score, length)
    assert is_tokenizer_bin(start) is fits
    assert not is_tokenizer_bin(start[:-1])


def test_there_may_be_so_many_tokens_and_no_more(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = save(tmp_path / "tokenizer.bin", ENTRIES)
    monkeypatch.setattr("exporter.tokenizers.tokenizer_bin.MOST_TOKENS", len(ENTRIES))
    assert len(read_tokenizer(path).pieces) == len(ENTRIES)
    monkeypatch.setattr("exporter.tokenizers.tokenizer_bin.MOST_TOKENS", len(ENTRIES) - 1)
    with pytest.raises(CheckpointError, match=f"expected at most {len(ENTRIES) - 1} tokens, found more"):
        read_tokenizer(path)


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
        (
            content([*ENTRIES[:250], (b"x!", 0.0), *ENTRIES[251:]]),
            "token 250: expected <0xF7>, found another piece",
        ),
        (content([*ENTRIES[:258], (b"x!", 0.0)]), "token 258: expected <0xFF>, found another piece"),
        (content(ENTRIES) + struct.pack("<fi", 0, 0) + bytes(9), f"token {LAST}: length: expected 1 to 6, found 0"),
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
