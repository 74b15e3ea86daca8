"""The tokenizer of a v3 file, and tokenizer.bin beside the weights."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Any

import pytest
from helpers.tokenizer_sources import byte_level_json, save_json, save_model_of, save_sentencepiece
from helpers.tokenizers import trained

import exporter
from exporter.sources.v3 import read_head
from exporter.tokenizers.block import write_block
from exporter.tokenizers.embed import staged_tokenizer, staged_with
from exporter.tokenizers.llama2c import write_llama2c
from exporter.tokenizers.qwen3c import write_qwen3c
from exporter.tokenizers.read import read_tokenizer


def exported(path: Path, out: Path, **options: Any) -> tuple[bytes, tuple[str, ...]]:
    """Return the tokenizer block of an exported file, and the notes."""
    summary = exporter.export(path, out, format="v3", overwrite=True, **options)
    return read_head(out).plan.tokenizer, summary.notes


def test_v3_has_the_source_s_tokenizer(tmp_path: Path) -> None:
    path, out = save_model_of(tmp_path / "a"), tmp_path / "model.bin"
    assert exported(path, out) == (b"", ())
    model = save_sentencepiece(path.with_name("tokenizer.model"))
    block = write_block(read_tokenizer(model))
    assert exported(path, out) == exported(path, out, tokenizer_block=True) == (block, ())
    assert exported(path, out, tokenizer_block=False) == (b"", ())


def test_a_v3_file_hands_its_block_on_and_is_a_tokenizer_s_save_model_of(tmp_path: Path) -> None:
    path, first, second = save_model_of(tmp_path / "a"), tmp_path / "first.bin", tmp_path / "second.bin"
    model = save_sentencepiece(path.with_name("tokenizer.model"))
    block, _ = exported(path, first)
    assert exported(first, second) == (block, ())
    exporter.export_tokenizer(first, tmp_path / "tokenizer.bin", format="llama2c")
    assert (tmp_path / "tokenizer.bin").read_bytes() == write_llama2c(read_tokenizer(model))
    exported(path, first, tokenizer_block=False)
    with pytest.raises(
        exporter.CheckpointError, match="expected a v3 file with a tokenizer block, found one without"
    ):
        exporter.export_tokenizer(first, tmp_path / "other.bin", format="llama2c")


def test_a_tokenizer_that_no_block_holds_is_left_out_with_a_note_or_refused(tmp_path: Path) -> None:
    path, out = save_model_of(tmp_path / "a"), tmp_path / "model.bin"
    model = save_sentencepiece(path.with_name("tokenizer.model"), byte_fallback=False)
    why = f"{model}: v3: byte_fallback: expected true, found false"
    assert exported(path, out) == (b"", (f"v3 without a tokenizer block: {why}",))
    out.unlink()
    with pytest.raises(exporter.FormatError) as refused:
        exported(path, out, tokenizer_block=True)
    assert str(refused.value) == why
    assert not out.exists()
    model.unlink()
    with pytest.raises(exporter.CheckpointError, match="expected a tokenizer beside the source, found none: give"):
        exported(path, out, tokenizer_block=True)
    with pytest.raises(exporter.FormatError, match="tokenizer_block: expected none for v2, which has no such block"):
        exporter.export(path, out, format="v2", tokenizer_block=True)


def test_a_tokenizer_with_more_tokens_than_the_model_is_left_out(tmp_path: Path) -> None:
    path, out = save_model_of(tmp_path / "a", vocab_size=302), tmp_path / "model.bin"
    model = save_json(path.with_name("tokenizer.json"), byte_level_json(trained(None, 300)))
    assert exported(path, out) == (
        b"",
        (f"v3 without a tokenizer block: {model}: v3: tokens: expected at most 302 as the model has, found 303",),
    )


def test_tokenizer_bin_appears_with_the_weights_or_not_at_all(tmp_path: Path) -> None:
    checkpoint = exporter.open_checkpoint(save_model_of(tmp_path / "a"))
    out = tmp_path / "tokenizer.bin"
    with pytest.raises(exporter.CheckpointError, match="expected a tokenizer beside the source, found none: omit"):
        staged_tokenizer(checkpoint, out, overwrite=False).__enter__()
    model = save_sentencepiece(tmp_path / "a" / "tokenizer.model")
    checkpoint = exporter.open_checkpoint(tmp_path / "a" / "checkpoint.pt")
    with staged_tokenizer(checkpoint, out, overwrite=False) as (publish, notes, written):
        assert (notes, out.exists()) == ((), False)
        assert written is not None
        assert written.read_bytes() == write_llama2c(read_tokenizer(model))
    assert not out.exists()
    with staged_tokenizer(checkpoint, out, overwrite=False) as (publish, _, _), publish():
        assert out.exists()
    assert out.read_bytes() == write_llama2c(read_tokenizer(model))
    assert {path.name for path in tmp_path.iterdir()} == {"a", "tokenizer.bin"}
    for overwrite, message in ((False, "expected nothing there, found a file"), (True, "found its tokenizer")):
        with pytest.raises(exporter.WriteError, match=message):
            staged_tokenizer(checkpoint, model, overwrite=overwrite).__enter__()


def test_qwen3_c_s_tokenizer_appears_the_same_way(tmp_path: Path) -> None:
    path, out = save_model_of(tmp_path / "a", vocab_size=303), tmp_path / "model.bin.tokenizer"
    config = {"bos_token": "<|begin|>", "eos_token": "<|end|>"}
    model = save_json(path.with_name("tokenizer.json"), byte_level_json(trained(None, 300)), config)
    checkpoint = exporter.open_checkpoint(path)
    with staged_tokenizer(checkpoint, out, overwrite=False, form="qwen3c") as (publish, _, _), publish():
        assert out.read_bytes() == write_qwen3c(read_tokenizer(model))


def test_a_format_has_the_tokenizer_that_its_readers_know(tmp_path: Path) -> None:
    directory = tmp_path / "a"
    path, out = save_model_of(directory, vocab_size=303), tmp_path / "model.bin"
    config = {"bos_token": "<|begin|>", "eos_token": "<|end|>"}
    model = save_json(path.with_name("tokenizer.json"), byte_level_json(trained(None, 300)), config)
    checkpoint = exporter.open_checkpoint(path)
    with staged_with(checkpoint, out, None, "hf", overwrite=False) as (publish, notes, written):
        assert (publish, notes, written) == (contextlib.nullcontext, (), None)
    other = tmp_path / "tokenizer"
    with staged_with(checkpoint, out, other, "ajc1", overwrite=False) as (_, _, written):
        assert written is not None
        assert written.read_bytes() == write_qwen3c(read_tokenizer(model))
    for given, file_format, message in (
        (other, "v2", f"{model}: llama2c: pre-tokenizer: expected none, found GPT-2's regular expression"),
        (other, "hf", "tokenizer_out: expected none for hf, which carries the source's tokenizer along"),
        (
            directory / ".." / "model.bin",
            "v2",
            f"{directory}/../model.bin: tokenizer_out: expected another path than OUT, found the same",
        ),
    ):
        with pytest.raises(exporter.ExportError) as refused:
            staged_with(checkpoint, out, given, file_format, overwrite=False).__enter__()
        assert str(refused.value) == message
