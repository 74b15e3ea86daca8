"""A tokenizer's files are found and read within bounds, and the content decides by which reader."""

from __future__ import annotations

import json
import struct
from pathlib import Path
from typing import Any

import pytest

from exporter.errors import CheckpointError
from exporter.tokenizers import read
from exporter.tokenizers.files import MOST_BYTES, Files, find


def refusal(source: Path, **options: bool) -> str:
    with pytest.raises(CheckpointError) as refused:
        find(source, **options)
    return str(refused.value)


def test_a_file_is_itself_and_a_directory_has_the_first_known_name(tmp_path: Path) -> None:
    expected = (
        f"{tmp_path}: expected a tokenizer, found none of tokenizer.json, tokenizer.model, vocab.json with "
        "merges.txt, qwen.tiktoken and tokenizer.bin: give the tokenizer's file itself"
    )
    (tmp_path / "vocab.json").write_text("{}")
    assert refusal(tmp_path) == expected
    for name in ("tokenizer.bin", "qwen.tiktoken", "merges.txt", "tokenizer.model", "tokenizer.json"):
        (tmp_path / name).write_text("x")
        found = "vocab.json" if name == "merges.txt" else name
        assert find(tmp_path) == Files(tmp_path / found)
    assert find(tmp_path / "tokenizer.bin") == Files(tmp_path / "tokenizer.bin")


def test_what_is_not_there_is_named(tmp_path: Path) -> None:
    assert refusal(tmp_path / "none") == f"{tmp_path}/none: no such file or directory"


@pytest.mark.parametrize("name", ["tokenizer.json", "tokenizer.bin"])
def test_links_out_of_a_directory_are_followed_only_if_the_user_says_so(tmp_path: Path, name: str) -> None:
    (tmp_path / "model").mkdir()
    (tmp_path / "elsewhere").write_text("{}")
    link = tmp_path / "model" / name
    link.symlink_to("../elsewhere")
    assert "found a link out of it" in refusal(tmp_path / "model")
    assert find(tmp_path / "model", follow_links=True) == Files(link, follow_links=True)
    # what the user names is meant, and what stands beside it is not
    assert find(link) == Files(link)
    for files, follows in ((find(link), False), (find(link, follow_links=True), True)):
        (tmp_path / "model" / "config.json").unlink(missing_ok=True)
        (tmp_path / "model" / "config.json").symlink_to("../elsewhere")
        if follows:
            assert files.object_beside("config.json") == {}
        else:
            with pytest.raises(CheckpointError, match="found a link out of it"):
                files.object_beside("config.json")


def test_files_beside_it_may_be_absent(tmp_path: Path) -> None:
    path = tmp_path / "tokenizer.json"
    path.write_text('{"a": 1}')
    files = find(path)
    assert (files.content(), files.object()) == (b'{"a": 1}', {"a": 1})
    assert (files.beside("x"), files.object_beside("x"), files.content_beside("x")) == (None, {}, None)
    (tmp_path / "x").write_text('{"b": 2}')
    assert files.beside("x") == tmp_path / "x"
    assert (files.object_beside("x"), files.content_beside("x")) == ({"b": 2}, b'{"b": 2}')


def test_a_file_may_have_64_mib(tmp_path: Path) -> None:
    path = tmp_path / "tokenizer.bin"
    with path.open("wb") as file:
        file.truncate(MOST_BYTES)
    assert len(Files(path).content()) == 64 << 20
    with path.open("ab") as file:
        file.write(b"x")
    with pytest.raises(CheckpointError, match=f"^{path}: expected at most 67108864 bytes, found more$"):
        Files(path).content()
    path.unlink()
    with pytest.raises(CheckpointError, match=f"^{path}: no such file or directory$"):
        Files(path).content()


READERS = ("byte_pairs", "tokenizer_json", "ranks", "sentencepiece", "tokenizer_bin")
V3 = struct.pack("<Ii", 0x616B3432, 3)


@pytest.mark.parametrize(
    ("name", "content", "reader"),
    [
        ("vocab.json", b"{}", "byte_pairs"),
        ("tokenizer.json", b"x", "tokenizer_json"),
        ("my.json", b"", "tokenizer_json"),
        ("anything", b'\n  {"a": 1}', "tokenizer_json"),
        ("anything", b"YQ== 0\nYg== 1\n", "ranks"),
        ("anything", b"\n\x05\n\x01a", "sentencepiece"),
        ("anything", struct.pack("<IfI", 10, 0.0, 1) + b"a", "tokenizer_bin"),
        ("anything", b"\0\0\0\0", "tokenizer_bin"),
        # a model of SentencePiece could begin with the number 10, too
        ("anything", struct.pack("<IfI", 10, 0.0, 11) + b"a", "sentencepiece"),
    ],
)
def test_the_content_decides_by_which_reader(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, content: bytes, reader: str
) -> None:
    asked: list[Any] = []
    for one in READERS:
        monkeypatch.setattr(
            read, f"read_{one}", lambda files, settings, one=one: asked.append((one, files, settings))
        )
    path = tmp_path / name
    path.write_bytes(content)
    (tmp_path / "tokenizer_config.json").write_text(json.dumps({"model_max_length": 7}))
    read.read_tokenizer(path)
    [(found, files, settings)] = asked
    assert (found, files, settings.config) == (reader, Files(path), {"model_max_length": 7})


def test_merges_alone_are_no_tokenizer(tmp_path: Path) -> None:
    path = tmp_path / "merges.txt"
    path.write_text("a b\n")
    with pytest.raises(CheckpointError) as refused:
        read.read_tokenizer(path)
    expected = "expected a tokenizer, found its merges alone: give the vocab.json beside it"
    assert str(refused.value) == f"{path}: {expected}"


def test_a_v3_file_has_its_block(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "model.bin"
    path.write_bytes(V3)
    for block in (b"block", b""):

        class Head:
            class plan:  # noqa: N801  # as the head calls it
                tokenizer = block

        monkeypatch.setattr(read, "read_head", lambda _, head=Head: head)
        monkeypatch.setattr(read, "parse_block", lambda where, content: (where, content))
        if block:
            assert read.read_tokenizer(path) == (str(path), b"block")
            continue
        with pytest.raises(CheckpointError) as refused:
            read.read_tokenizer(path)
        assert str(refused.value) == f"{path}: expected a v3 file with a tokenizer block, found one without"


def test_a_format_is_told_by_so_many_bytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for one in ("ranks", "tokenizer_bin"):
        monkeypatch.setattr(read, f"read_{one}", lambda _, __, one=one: one)
    path = tmp_path / "anything"
    for size, reader in ((4092, "ranks"), (4093, "tokenizer_bin")):
        path.write_bytes(b"A" * size + b" 0\r\n")
        assert str(read.read_tokenizer(path)) == reader
