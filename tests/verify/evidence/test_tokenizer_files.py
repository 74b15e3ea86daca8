"""Which class reads a tokenizer's file, by its name or its beginning. Quick: the libraries are replaced."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from verify.errors import CannotJudgeError
from verify.evidence import byte_pairs, ranked_tokens, tokenizer_files
from verify.evidence.tokenizer_files import open_tokenizer


class Opened:
    """Stands for each class that opens a file, and says which it was."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        for module, name in (
            (byte_pairs, "BytePairs"),
            (ranked_tokens, "RankedTokens"),
            (tokenizer_files, "_Fast"),
            (tokenizer_files, "_SentencePiece"),
        ):
            monkeypatch.setattr(module, name, self._named(name))

    @staticmethod
    def _named(name: str) -> Callable[[Path], Any]:
        return lambda path: (name, path)


@pytest.mark.parametrize(
    ("name", "content", "expected"),
    [
        ("vocab.json", b"{}", "BytePairs"),
        ("tokenizer.json", b"{}", "_Fast"),
        ("any.json", b"YQ== 0\n", "_Fast"),
        ("any", b' \n{"a"', "_Fast"),
        ("tokenizer.model", b"YQ== 0\n", "RankedTokens"),
        ("tokenizer.model", b"YQ== 0\r\nYg== 1\r\n", "RankedTokens"),
        ("tokenizer.model", b"YQ== 0", "_SentencePiece"),
        ("tokenizer.model", b"YQ==  0\n", "_SentencePiece"),
        ("tokenizer.model", b"\nYQ== 0\n", "_SentencePiece"),
        ("tokenizer.model", b"\n\x0e\n\x05<unk>", "_SentencePiece"),
        ("tokenizer.model", b"x" * 4093 + b" 0\n", "RankedTokens"),
        ("tokenizer.model", b"x" * 4094 + b" 0\n", "_SentencePiece"),
        ("tokenizer.model", b"", "_SentencePiece"),
    ],
)
def test_the_name_or_the_beginning_decides(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, content: bytes, expected: str
) -> None:
    Opened(monkeypatch)
    path = tmp_path / name
    path.write_bytes(content)
    assert open_tokenizer(path) == (expected, path)  # type: ignore[comparison-overlap]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        (
            "merges.txt",
            b"a b",
            "expected a tokenizer, found its merges alone: give the vocab.json beside it",
        ),
        (
            "tokenizer.json",
            b"version https://git-lfs.github.com/spec/v1\noid",
            "expected a tokenizer, found a pointer of Git LFS: run git lfs pull",
        ),
        ("none", None, "expected a tokenizer, found no such file: give one with --tokenizer FILE"),
    ],
)
def test_what_is_no_tokenizer_is_refused(tmp_path: Path, name: str, content: bytes | None, message: str) -> None:
    path = tmp_path / name
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(CannotJudgeError) as caught:
        open_tokenizer(path)
    assert str(caught.value) == f"{path}: {message}"
    with pytest.raises(CannotJudgeError, match="found no such file"):
        open_tokenizer(tmp_path)


@pytest.mark.parametrize(
    ("error", "reason"), [(OSError("Odd"), "odd"), (PermissionError(13, "Permission Denied"), "permission denied")]
)
def test_a_file_that_cannot_be_read_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: OSError, reason: str
) -> None:
    path = tmp_path / "tokenizer.model"
    path.touch()

    def fail(*_how: object, **_more: object) -> Any:
        raise error

    monkeypatch.setattr(Path, "open", fail)
    with pytest.raises(CannotJudgeError) as caught:
        open_tokenizer(path)
    assert str(caught.value) == f"{path}: {reason}"


class Library:
    """A tokenizer of Hugging Face's library: what it was asked for, and one id for each character."""

    def __init__(self) -> None:
        self.asked: list[str] = []

    def from_file(self, path: str) -> Library:
        self.asked.append(path)
        return self

    def no_truncation(self) -> None:
        self.asked.append("no truncation")

    def no_padding(self) -> None:
        self.asked.append("no padding")

    def encode(self, text: str) -> Any:
        return SimpleNamespace(ids=tuple(map(ord, text)))

    def decode(self, ids: list[int]) -> str:
        return f"text of {ids}"


def test_tokenizer_json_encodes_the_whole_text_at_its_whole_length(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    library = Library()
    monkeypatch.setattr(tokenizer_files, "wanted", lambda _name: SimpleNamespace(Tokenizer=library))
    path = tmp_path / "tokenizer.json"
    path.write_text("{}")
    made = open_tokenizer(path)
    assert library.asked == [str(path), "no truncation", "no padding"]
    assert (made.encode("ab\n"), made.encode(" \n\t"), made.decode((1, 2))) == ([97, 98, 10], [], "text of [1, 2]")


def test_sentencepiece_encodes_line_by_line_after_the_token_that_begins_a_text(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Processor:
        def __init__(self, model_file: str) -> None:
            assert model_file == str(tmp_path / "tokenizer.model")

        def encode(self, line: str, *, add_bos: bool) -> list[int]:
            return [1, len(line)] if add_bos else [len(line)]

        def decode(self, ids: list[int]) -> str:
            return f"text of {ids}"

    monkeypatch.setitem(sys.modules, "sentencepiece", SimpleNamespace(SentencePieceProcessor=Processor))
    path = tmp_path / "tokenizer.model"
    path.write_bytes(b"\0")
    made = open_tokenizer(path)
    assert made.encode("ab\n \n\nabc") == [1, 2, 1, 3]
    assert made.decode((1, 2)) == "text of [1, 2]"
