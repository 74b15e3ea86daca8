"""The reader's tables of Unicode are what the script makes of the library's answers."""

from __future__ import annotations

import unicodedata

import pytest
import tokenizers
import unicode_tables
from helpers.tokenizer_blocks import NFC, Block
from tokenizers import normalizers

import reader_c
from reader_c.build import SOURCE_DIR

TABLES = SOURCE_DIR / "unicode_tables.h"


@pytest.fixture(scope="module")
def written() -> str:
    text = TABLES.read_text(encoding="utf-8")
    if f"tokenizers {tokenizers.__version__}." not in text:
        pytest.skip("the tables are of another version of the library")
    return text


@pytest.mark.slow
def test_the_script_writes_the_tables_again(written: str) -> None:
    assert unicode_tables.generate() == written


@pytest.mark.slow
def test_every_code_point_is_composed_as_the_library_does_it(written: str) -> None:
    assert written
    pieces = [bytes([byte]) for byte in range(256)]
    tokenizer = reader_c.Tokenizer.from_block(Block(flags=NFC, pieces=pieces).content(), 256)
    compose = normalizers.NFC().normalize_str
    codes = unicode_tables.code_points()
    # alone; behind a letter, with marks of low and high classes behind it
    for pattern in ("{}", "a{}\u0334\u0345", "\u1112\u1161{}"):
        for first in range(0, len(codes), 4096):
            text = "\n".join(pattern.format(chr(code)) for code in codes[first : first + 4096])
            assert tokenizer.decode(tokenizer.encode(text)) == compose(text).encode()


def test_nfc_makes_at_most_three_bytes_of_one() -> None:
    """That is the room that the reader asks for."""
    every = map(chr, unicode_tables.code_points())
    assert max(len(unicodedata.normalize("NFC", c).encode()) / len(c.encode()) for c in every) == 3
