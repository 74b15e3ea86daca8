"""vocab.json with merges.txt: the ids of the class that tokenizer_config.json names."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from helpers.tokenizers import LLAMA3, save_byte_pairs, trained

from exporter.errors import CheckpointError
from exporter.tokenizers.model import AddedToken
from exporter.tokenizers.read import read_tokenizer

GPT2 = {"tokenizer_class": "GPT2Tokenizer"}


def save(directory: Path, config: dict[str, Any] | None, pieces: str | None = None) -> Path:
    return save_byte_pairs(trained(pieces, 320), directory, config)


@pytest.mark.parametrize(
    ("config", "pattern", "nfc"),
    [
        (GPT2, "gpt2", False),
        ({"tokenizer_class": "GPT2TokenizerFast"}, "gpt2", False),
        ({"tokenizer_class": "Qwen2Tokenizer"}, "qwen2", True),
    ],
)
def test_the_class_decides_how_a_text_is_cut(tmp_path: Path, config: dict[str, Any], pattern: str, nfc: bool) -> None:
    path = save(tmp_path, config, LLAMA3)
    model = read_tokenizer(path)
    assert (model.kind, model.pattern, model.nfc, model.added) == ("bytes", pattern, nfc, ())
    vocab = json.loads(path.read_text())
    assert len(model.pieces) == len(vocab) == 320
    assert model.pieces[vocab["\u0120"]] == b" "
    assert len(model.merges) == len((tmp_path / "merges.txt").read_text().splitlines()) - 1
    assert read_tokenizer(tmp_path) == model


def test_a_qwen2_needs_no_tokenizer_config(tmp_path: Path) -> None:
    path = save(tmp_path, None)
    (tmp_path / "config.json").write_text('{"model_type": "qwen2", "eos_token_id": 5}')
    model = read_tokenizer(path)
    assert (model.pattern, model.eos, model.eos_ids) == ("qwen2", 5, (5,))


def test_added_tokens_are_those_of_tokenizer_config(tmp_path: Path) -> None:
    token = {"content": "<|im_start|>", "special": True, "lstrip": True}
    text = {"content": "<tool>", "special": False, "normalized": True}
    config = {
        **GPT2,
        "added_tokens_decoder": {"320": token, "321": text},
        "bos_token": {"content": "<|im_start|>"},
        "eos_token": "<tool>",
        "add_bos_token": True,
        "add_prefix_space": True,
    }
    model = read_tokenizer(save(tmp_path, config))
    assert model.pieces[320:] == (b"<|im_start|>", b"<tool>")
    assert model.added == (AddedToken(320, lstrip=True), AddedToken(321, special=False, normalized=True))
    assert (model.bos, model.eos, model.begins_with_bos, model.ends_with_eos) == (320, 321, True, False)
    assert model.space_first


def test_special_tokens_of_the_vocabulary_are_added_tokens(tmp_path: Path) -> None:
    path = save(tmp_path, {**GPT2, "bos_token": "<s>"})
    vocab = json.loads(path.read_text())
    path.write_text(json.dumps({**vocab, "<s>": 320, "<|endoftext|>": 321}))
    model = read_tokenizer(path)
    assert model.added == (AddedToken(320), AddedToken(321))
    assert (model.bos, model.eos, model.begins_with_bos) == (320, 321, False)


def test_what_begins_and_ends_a_text_needs_a_token(tmp_path: Path) -> None:
    model = read_tokenizer(save(tmp_path, {**GPT2, "add_bos_token": True, "add_eos_token": True}))
    assert (model.begins_with_bos, model.ends_with_eos, model.bos, model.eos) == (False, False, None, None)
    assert (model.space_first, model.added, model.eos_ids) == (False, (), ())
    path = save(tmp_path, {**GPT2, "add_eos_token": True})
    path.write_text(json.dumps({**json.loads(path.read_text()), "<|endoftext|>": 320}))
    model = read_tokenizer(path)
    assert (model.begins_with_bos, model.ends_with_eos, model.eos, model.eos_ids) == (False, True, 320, (320,))


def test_what_the_decoder_says_of_a_token_of_the_vocabulary_counts(tmp_path: Path) -> None:
    token = {"content": "<s>", "special": True, "rstrip": True}
    path = save(tmp_path, {**GPT2, "added_tokens_decoder": {"320": token}, "bos_token": "<s>"})
    path.write_text(json.dumps({**json.loads(path.read_text()), "<s>": 320}))
    assert read_tokenizer(path).added == (AddedToken(320, rstrip=True),)


def test_merges_are_read_without_a_version_and_with_either_end_of_line(tmp_path: Path) -> None:
    path = save(tmp_path, GPT2)
    model, merges = read_tokenizer(path), tmp_path / "merges.txt"
    version, *lines = merges.read_text().splitlines()
    assert version.startswith("#version")
    for content in ("\r\n".join([version, *lines, ""]), "\n".join(lines)):
        merges.write_bytes(content.encode())
        assert read_tokenizer(path) == model
    merges.write_text("\n".join([lines[0], version]))
    with pytest.raises(CheckpointError, match="merges: 1: expected pieces of the vocabulary, found '#version:'"):
        read_tokenizer(path)


@pytest.mark.parametrize(
    ("key", "found"),
    [("123456789", "123456789"), ("1234567890", "'1234567890'"), ("\u0663", "'\\u0663'"), ("-1", "'-1'")],
)
def test_ids_of_added_tokens_are_ascii_digits(tmp_path: Path, key: str, found: str) -> None:
    path = save(tmp_path, {**GPT2, "added_tokens_decoder": {key: {"content": "<s>"}}})
    with pytest.raises(CheckpointError) as refused:
        read_tokenizer(path)
    assert str(refused.value).endswith(f": id: expected 0 to 16777215, found {found}")


@pytest.mark.parametrize(
    ("config", "place", "message"),
    [
        (
            None,
            "tokenizer_config.json",
            "tokenizer_class: expected GPT2Tokenizer or Qwen2Tokenizer for vocab.json with merges.txt, found none: "
            "give the model's tokenizer.json",
        ),
        (
            {"tokenizer_class": "RobertaTokenizer"},
            "tokenizer_config.json",
            "tokenizer_class: expected GPT2Tokenizer or Qwen2Tokenizer for vocab.json with merges.txt, found "
            "'RobertaTokenizer': give the model's tokenizer.json",
        ),
        (
            {"tokenizer_class": "Qwen2Tokenizer", "add_prefix_space": True},
            "tokenizer_config.json",
            "add_prefix_space: expected false, found True",
        ),
        (
            {**GPT2, "bos_token": "<none>"},
            "tokenizer_config.json",
            "bos_token: expected a token of the vocabulary, found '<none>': correct tokenizer_config.json",
        ),
        ({**GPT2, "eos_token": 7}, "tokenizer_config.json", "eos_token: expected a text, found 7"),
        (
            {**GPT2, "add_bos_token": "yes"},
            "tokenizer_config.json",
            "add_bos_token: expected true or false, found 'yes'",
        ),
        (
            {**GPT2, "added_tokens_decoder": []},
            "tokenizer_config.json",
            "added_tokens_decoder: expected an object, found []",
        ),
        (
            {**GPT2, "added_tokens_decoder": {"x": {"content": "a"}}},
            "tokenizer_config.json",
            "added_tokens_decoder: 'x': id: expected 0 to 16777215, found 'x'",
        ),
        (
            {**GPT2, "added_tokens_decoder": {"3": {"content": "new"}}},
            "vocab.json",
            "added token 'new': expected an id of its own as in the vocabulary, found 3 beside '$'",
        ),
    ],
)
def test_what_is_not_understood_is_refused_at_its_place(
    tmp_path: Path, config: dict[str, Any] | None, place: str, message: str
) -> None:
    path = save(tmp_path, config)
    with pytest.raises(CheckpointError) as refused:
        read_tokenizer(path)
    assert str(refused.value) == f"{tmp_path / place}: {message}"


def test_merges_must_be_there_and_be_pairs(tmp_path: Path) -> None:
    path = save(tmp_path, GPT2)
    merges = tmp_path / "merges.txt"
    for content, message in (
        (b"#version: 0.2\na b c\n", "line 2: expected two pieces, found 'a b c'"),
        (b"\xff", "expected UTF-8, found other bytes at 0"),
    ):
        merges.write_bytes(content)
        with pytest.raises(CheckpointError) as refused:
            read_tokenizer(path)
        assert str(refused.value) == f"{merges}: {message}"
    with pytest.raises(CheckpointError, match="expected a tokenizer, found its merges alone"):
        read_tokenizer(merges)
    merges.unlink()
    with pytest.raises(CheckpointError) as refused:
        read_tokenizer(path)
    assert str(refused.value) == f"{merges}: no such file or directory: it belongs to vocab.json"
