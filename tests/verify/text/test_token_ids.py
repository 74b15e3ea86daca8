"""The token ids of a text: which tokenizer a file is, and which one is beside a model."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from helpers.tokenizer_bins import byte_entries, save

import reader_c
import verify.demo
from verify.errors import CannotJudgeError
from verify.text.token_ids import beside, is_llama2c, token_ids

ENTRIES = [*byte_entries(), (b" ", 0.0), (b"a", 0.0)]


def test_the_first_of_four_names_is_the_tokenizer_beside_a_file(tmp_path: Path) -> None:
    file = tmp_path / "model.bin"
    message = f"{tmp_path}: expected a tokenizer beside model.bin, found none: give one with --tokenizer FILE"
    with pytest.raises(CannotJudgeError, match=re.escape(message)):
        beside(file)
    for name in ("vocab.json", "tokenizer.model", "tokenizer.json", "tokenizer.bin"):
        (tmp_path / name).touch()
        assert beside(file) == tmp_path / name


@pytest.mark.parametrize(
    ("start", "expected"),
    [
        (b"\x07\0\0\0\0\0\0\0", True),
        (b'{\n  "version"', False),
        (b"IQ== 0\n", False),
        (b"\n\x0e\n\x05<unk>", False),
        (b"\x07\0\0", False),
        (b"", False),
    ],
)
def test_content_tells_a_tokenizer_bin_from_the_others(start: bytes, expected: bool, tmp_path: Path) -> None:
    (tmp_path / "tokenizer").write_bytes(start)
    assert is_llama2c(tmp_path / "tokenizer") is expected
    assert not is_llama2c(tmp_path / "none")


def test_the_bundled_tokenizer_is_not_llama2c_s() -> None:
    assert not is_llama2c(Path(verify.demo.__file__).with_name("tokenizer.model"))


def test_a_tokenizer_bin_encodes_the_whole_text_after_token_1_and_any_bytes(tmp_path: Path) -> None:
    tokenizer = save(tmp_path / "tokenizer.bin", ENTRIES)
    text = tmp_path / "text"
    text.write_bytes(b"\xef\xbb\xbfa\na\xff")
    found = token_ids(text, tokenizer, len(ENTRIES))
    assert found.ids.tolist() == [1, 259, 260, 3 + 10, 260, 3 + 255]
    assert (found.content, found.first) == (b"a\na\xff", 0)


def test_a_tokenizer_bin_of_another_model_is_refused(tmp_path: Path) -> None:
    tokenizer = save(tmp_path / "tokenizer.bin", ENTRIES)
    (tmp_path / "text").write_text("a")
    with pytest.raises(reader_c.InvalidFileError, match=r"is it the tokenizer of another model\?"):
        token_ids(tmp_path / "text", tokenizer, len(ENTRIES) + 1)
