"""A text and its tokens, by a tokenizer made by hand."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from verify.errors import CannotJudgeError
from verify.evidence import tokenizers
from verify.evidence.tokenizers import decode, encode

MODEL = Path("tokenizer.model")


class Characters:
    """Each character is a token."""

    def encode(self, text: str) -> list[int]:
        if "!" in text:
            raise RuntimeError("no such character")
        return [ord(character) for character in text]

    def decode(self, ids: list[int]) -> str:
        assert all(type(one) is int for one in ids)
        return "".join(map(chr, ids))


@pytest.fixture(autouse=True)
def characters(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tokenizers, "open_tokenizer", lambda _path: Characters())


def text(directory: Path, content: str | bytes) -> Path:
    path = directory / "text.txt"
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def refusal(*given: Any) -> str:
    with pytest.raises(CannotJudgeError) as caught:
        encode(*given)
    return str(caught.value)


def test_a_text_becomes_int64_ids_without_its_byte_order_mark(tmp_path: Path) -> None:
    for content in ("ab", "\ufeffab"):
        found = encode(text(tmp_path, content), MODEL, 128)
        assert (found.dtype, found.tolist()) == (np.int64, [97, 98])
    assert encode(text(tmp_path, "\ufeff\ufeffa"), MODEL, 1 << 16).tolist() == [0xFEFF, 97]
    assert encode(text(tmp_path, ""), MODEL, 128).tolist() == []


def test_the_last_id_of_the_vocabulary_is_one_and_the_next_is_none(tmp_path: Path) -> None:
    path = text(tmp_path, "ba")
    assert encode(path, MODEL, 99).tolist() == [98, 97]
    assert refusal(path, MODEL, 98) == (
        f"{MODEL}: token: expected ids below the model's vocab_size of 98, found 98 in {path}: tokenizer and model "
        "do not belong together: give the model's own with --tokenizer FILE"
    )


def test_a_text_that_cannot_be_read_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    none = tmp_path / "none"
    assert refusal(none, MODEL, 99) == f"{none}: expected a text, found: no such file or directory"
    path = text(tmp_path, b"ab\xff")
    assert refusal(path, MODEL, 99) == f"{path}: expected UTF-8 text, found byte 2 to be none: convert it with iconv"
    monkeypatch.setattr(tokenizers, "_MOST_TEXT", 2)
    assert refusal(path, MODEL, 99) == f"{path}: expected a text, found: more than 2 bytes"
    assert encode(text(tmp_path, "ab"), MODEL, 99).tolist() == [97, 98]


def test_what_a_library_raises_is_one_line(tmp_path: Path) -> None:
    path = text(tmp_path, "a!")
    assert refusal(path, MODEL, 99).startswith(
        f"{MODEL}: expected a tokenizer that encodes {path}, found none that does: "
    )
    with pytest.raises(CannotJudgeError, match="a tokenizer that decodes its own tokens, found none that does"):
        decode(text(tmp_path, ""), [-1])


def test_ids_become_text_if_there_is_a_tokenizer(tmp_path: Path) -> None:
    assert decode(text(tmp_path, ""), list(np.array([97, 98]))) == "ab"
    assert decode(tmp_path / "none", [97]) == ""
    assert tokenizers._MOST_TEXT == 2**30
