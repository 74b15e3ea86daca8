"""export_tokenizer(): a file in another format, whole or not at all."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest
from helpers.tokenizer_sources import byte_level_json, save_json, save_sentencepiece
from helpers.tokenizers import trained

import exporter
import verify.cli.tokenizers
from exporter.tokenizers.llama2c import write_llama2c
from exporter.tokenizers.read import read_tokenizer


@pytest.fixture
def model(tmp_path: Path) -> Path:
    directory = tmp_path / "source"
    directory.mkdir()
    return save_sentencepiece(directory / "tokenizer.model")


def test_the_file_and_its_summary(tmp_path: Path, model: Path) -> None:
    out = tmp_path / "tokenizer.bin"
    summary = exporter.export_tokenizer(model.parent, out, format="llama2c", vocab_size=400)
    content = write_llama2c(read_tokenizer(model))
    assert out.read_bytes() == content
    digest = hashlib.sha256(content).hexdigest()
    assert summary == exporter.TokenizerSummary(out, "llama2c", len(content), digest, 400, ())


@pytest.mark.parametrize("vocab_size", [None, 400, 401])
def test_v3_has_at_most_as_many_tokens_as_the_model(tmp_path: Path, model: Path, vocab_size: int | None) -> None:
    summary = exporter.export_tokenizer(model, tmp_path / "block", format="v3", vocab_size=vocab_size)
    assert (summary.tokens, summary.format) == (400, "v3")


@pytest.mark.parametrize(
    ("format_name", "vocab_size", "message"),
    [
        ("llama2c", 401, "llama2c: tokens: expected 401 as the model has, found 400"),
        ("llama2c", 399, "llama2c: tokens: expected 399 as the model has, found 400"),
        ("v3", 399, "v3: tokens: expected at most 399 as the model has, found 400"),
        ("qwen3c", None, "qwen3c: pieces: expected bytes as in GPT-2 and Qwen, found characters"),
    ],
)
def test_a_refusal_changes_nothing_on_disk(
    tmp_path: Path, model: Path, format_name: str, vocab_size: int | None, message: str
) -> None:
    out = tmp_path / "tokenizer.bin"
    out.write_bytes(b"mine")
    with pytest.raises(exporter.FormatError) as refused:
        exporter.export_tokenizer(model, out, format=format_name, vocab_size=vocab_size, overwrite=True)
    assert str(refused.value) == f"{model}: {message}"
    assert out.read_bytes() == b"mine"
    assert {path.name for path in tmp_path.iterdir()} == {"source", "tokenizer.bin"}


def test_existing_files_and_the_source_are_not_replaced(tmp_path: Path, model: Path) -> None:
    out = tmp_path / "tokenizer.bin"
    exporter.export_tokenizer(model, out, format="llama2c")
    with pytest.raises(exporter.WriteError, match="expected nothing there, found a file"):
        exporter.export_tokenizer(model, out, format="v3")
    exporter.export_tokenizer(model, out, format="v3", overwrite=True)
    content = model.read_bytes()
    with pytest.raises(exporter.WriteError, match="expected a file other than the source, found the source itself"):
        exporter.export_tokenizer(model, model, format="llama2c", overwrite=True)
    assert model.read_bytes() == content


def test_unknown_formats_and_missing_tokenizers_are_refused(tmp_path: Path, model: Path) -> None:
    with pytest.raises(exporter.FormatError, match="format: expected one of llama2c, qwen3c, v3, found 'gguf'"):
        exporter.export_tokenizer(model, tmp_path / "out", format="gguf")
    empty = tmp_path / "empty"
    empty.mkdir()
    with pytest.raises(exporter.CheckpointError, match="expected a tokenizer, found none of"):
        exporter.export_tokenizer(empty, tmp_path / "out", format="v3")
    with pytest.raises(exporter.CheckpointError, match="no such file or directory"):
        exporter.export_tokenizer(tmp_path / "none", tmp_path / "out", format="v3")
    assert verify.cli.tokenizers.FORMATS == exporter.TOKENIZER_FORMATS


def test_a_directory_s_tokenizer_json_counts_before_its_tokenizer_model(model: Path) -> None:
    file = byte_level_json(trained(None, 300))
    save_json(model.with_name("tokenizer.json"), file)
    assert read_tokenizer(model.parent).kind == "bytes"
    assert read_tokenizer(model).kind == "characters"
    (model.parent / "config.json").write_text(json.dumps({"eos_token_id": 7}))
    assert read_tokenizer(model).eos_ids == (7,)


def test_links_out_of_a_directory_are_followed_only_if_the_caller_says_so(tmp_path: Path, model: Path) -> None:
    linked, out = tmp_path / "linked", tmp_path / "tokenizer.bin"
    linked.mkdir()
    (linked / "tokenizer.model").symlink_to(model)
    with pytest.raises(exporter.CheckpointError, match="found a link out of it"):
        exporter.export_tokenizer(linked, out, format="llama2c")
    assert exporter.export_tokenizer(linked, out, format="llama2c", follow_links=True).tokens == 400
