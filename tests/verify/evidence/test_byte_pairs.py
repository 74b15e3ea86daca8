"""Which files make a tokenizer of byte pairs, and of which class it is. Quick: transformers is not loaded."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from verify.errors import CannotJudgeError
from verify.evidence import byte_pairs
from verify.evidence.byte_pairs import BytePairs, _class_of, _contents

ADDED = ("tokenizer_config.json", "added_tokens.json", "special_tokens_map.json")


def test_both_files_are_needed_and_three_may_stand_beside_them(tmp_path: Path) -> None:
    path = tmp_path / "vocab.json"
    for name in ("vocab.json", "merges.txt", "tokenizer.json"):
        (tmp_path / name).write_text(name)
    assert _contents(path) == {"vocab.json": b"vocab.json", "merges.txt": b"merges.txt"}
    for name in ADDED:
        (tmp_path / name).write_text(name)
    assert _contents(path) == {name: name.encode() for name in ("vocab.json", "merges.txt", *ADDED)}
    merges = tmp_path / "merges.txt"
    merges.unlink()
    with pytest.raises(CannotJudgeError) as caught:
        _contents(path)
    assert str(caught.value) == f"{merges}: expected a part of the tokenizer, found: no such file or directory"


def test_a_part_may_have_64_mebibytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert byte_pairs._MOST_BYTES == 2**26
    for name in ("vocab.json", "merges.txt"):
        (tmp_path / name).write_text("x" * 10)
    monkeypatch.setattr(byte_pairs, "_MOST_BYTES", 10)
    assert len(_contents(tmp_path / "vocab.json")) == 2
    monkeypatch.setattr(byte_pairs, "_MOST_BYTES", 9)
    with pytest.raises(CannotJudgeError, match=r"found: more than 9 bytes$"):
        _contents(tmp_path / "vocab.json")


def class_of(directory: Path, said: object = None, model_type: str | None = None) -> str:
    if said is not None:
        (directory / "tokenizer_config.json").write_text(json.dumps({"tokenizer_class": said}))
    if model_type is not None:
        (directory / "config.json").write_text(json.dumps({"model_type": model_type}))
    return _class_of(directory)


@pytest.mark.parametrize("name", ["GPT2Tokenizer", "Qwen2Tokenizer"])
def test_the_class_is_that_which_is_named(tmp_path: Path, name: str) -> None:
    assert class_of(tmp_path, name) == name
    assert class_of(tmp_path, f"{name}Fast", "llama") == name


def test_without_a_name_only_a_qwen2_has_a_class(tmp_path: Path) -> None:
    message = (
        f"{tmp_path / 'tokenizer_config.json'}: tokenizer_class: expected GPT2Tokenizer or Qwen2Tokenizer for "
        "vocab.json with merges.txt, found none: give the model's tokenizer.json with --tokenizer"
    )
    for model_type in (None, "llama"):
        with pytest.raises(CannotJudgeError) as caught:
            class_of(tmp_path, None, model_type)
        assert str(caught.value) == message
    assert class_of(tmp_path, None, "qwen2") == "Qwen2Tokenizer"
    # what is named comes first
    assert class_of(tmp_path, "GPT2Tokenizer", "qwen2") == "GPT2Tokenizer"


@pytest.mark.parametrize(("said", "shown"), [("LlamaTokenizer", "LlamaTokenizer"), ("x" * 99, "x" * 80), (5, "5")])
def test_another_class_is_refused(tmp_path: Path, said: object, shown: str) -> None:
    with pytest.raises(CannotJudgeError) as caught:
        class_of(tmp_path, said, "qwen2")
    assert f"with merges.txt, found {shown}: give " in str(caught.value)


class Library:
    """transformers, replaced: which class was asked for what, with which files, and a tokenizer that counts."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.asked: list[Any] = []
        self.files: dict[str, bytes] = {}

        def of_class(name: str) -> Any:
            def load(directory: str, **given: Any) -> Any:
                self.asked.append((name, given))
                self.files = {path.name: path.read_bytes() for path in Path(directory).iterdir()}
                return SimpleNamespace(backend_tokenizer=self)

            return SimpleNamespace(from_pretrained=load)

        @contextmanager
        def quiet() -> Iterator[Any]:
            yield SimpleNamespace(**{name: of_class(name) for name in ("GPT2Tokenizer", "Qwen2Tokenizer")})

        monkeypatch.setattr(byte_pairs, "quiet_transformers", quiet)

    def no_truncation(self) -> None:
        self.asked.append("no truncation")

    def no_padding(self) -> None:
        self.asked.append("no padding")

    def encode(self, text: str) -> Any:
        return SimpleNamespace(ids=(len(text), 7))

    def decode(self, ids: list[int]) -> str:
        return f"text of {ids}"


def test_transformers_gets_these_files_alone_and_downloads_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    library = Library(monkeypatch)
    for name in ("vocab.json", "merges.txt", "special_tokens_map.json", "tokenizer.json"):
        (tmp_path / name).write_text(name)
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "qwen2"}))
    made = BytePairs(tmp_path / "vocab.json")
    assert library.asked == [("Qwen2Tokenizer", {"local_files_only": True}), "no truncation", "no padding"]
    assert library.files == {name: name.encode() for name in ("vocab.json", "merges.txt", "special_tokens_map.json")}
    assert (made.encode("abc"), made.encode(" \n"), made.decode((1, 2))) == ([3, 7], [], "text of [1, 2]")
