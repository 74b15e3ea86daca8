"""Tokenizers in a verdict: a v3 file's block, a file that the user names, and a source that is v3 itself."""

from __future__ import annotations

import dataclasses
import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from helpers.rule_blocks import block_of
from helpers.tokenizer_bins import content, from_sentencepiece
from helpers.tokenizer_families import processor_of
from helpers.tokenizer_models import with_tokenizer
from helpers.v3_files import patched

import exporter
import reader_c
import verify
import verify.demo
from verify.demo import CHECKPOINT
from verify.report.model import Report
from verify.report.saved import read_report
from verify.tokenizers.block import parse_block
from verify.tokenizers.drawn_texts import TEXTS


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return with_tokenizer(tmp_path_factory.mktemp("source") / "hf", "gpt2")


@pytest.fixture(scope="module")
def file(source: Path) -> Path:
    out = source.parent / "model.bin"
    exporter.export(exporter.open_checkpoint(source), out, format="v3")
    return out


def judged(source: Path, file: Path, **options: Any) -> Report:
    return verify.verify(source, file, depth="quick", windows=1, **options)


def block_at(file: Path) -> tuple[int, int]:
    """Return where a file's block begins, and its size."""
    with reader_c.open(file) as model:
        return bytes(model.content).index(model.tokenizer_block), len(model.tokenizer_block)


def test_a_block_is_judged_after_the_file_and_reported(source: Path, file: Path, tmp_path: Path) -> None:
    report = judged(source, file)
    assert report.passed
    assert [check.name for check in report.checks][:4] == ["config", "file", "tokenizer", "tensors"]
    [found] = report.tokenizers
    assert (found.form, found.path, found.source, found.library) == ("v3", None, "tokenizer.json", "tokenizers")
    assert (found.tokens, found.added, found.texts, found.chats) == (805, 5, TEXTS["quick"], 4)
    saved = tmp_path / "report.json"
    saved.write_text(report.to_json())
    assert read_report(saved).to_json() == report.to_json()


def test_a_changed_block_fails_at_the_tokenizer_alone(source: Path, file: Path, tmp_path: Path) -> None:
    content_ = file.read_bytes()
    at, size = block_at(file)
    rules = parse_block(content_[at : at + size], 810)
    changed = block_of(dataclasses.replace(rules, digits=True))
    assert len(changed) == size
    wrong = tmp_path / "wrong.bin"
    wrong.write_bytes(patched(content_, (at, changed)))
    report = judged(source, wrong)
    assert [check.name for check in report.blamed] == ["tokenizer"]
    assert report.diagnosis is not None
    assert report.diagnosis.signature == "digits-split"
    assert report.reason.startswith("tokenizer: digits: expected not that every digit is a pre-token of its own, ")


def test_a_block_of_no_legal_bytes_is_refused_by_file_and_tokenizer(source: Path, file: Path, tmp_path: Path) -> None:
    content_ = file.read_bytes()
    at, _ = block_at(file)
    wrong = tmp_path / "wrong.bin"
    wrong.write_bytes(patched(content_, (at + 4, b"\x80")))
    blamed = {check.name: check.detail for check in judged(source, wrong).blamed}
    said = "flags: expected bits of 0x3f for kind 1, found 0x80"
    assert blamed == {"file": f"tokenizer block: {said}", "tokenizer": said}


def test_a_v3_file_is_a_source_with_its_own_tokenizer(file: Path, tmp_path: Path) -> None:
    out = tmp_path / "again.bin"
    exporter.export(exporter.open_checkpoint(file), out, format="v3", storage="bf16")
    report = judged(file, out)
    assert report.passed
    assert [(one.source, one.library, one.texts) for one in report.tokenizers] == [("model.bin", "none", 0)]


def test_a_source_without_a_tokenizer_leaves_the_check_skipped(source: Path, tmp_path: Path) -> None:
    bare = tmp_path / "bare"
    bare.mkdir()
    for name in ("config.json", "model.safetensors"):
        (bare / name).write_bytes((source / name).read_bytes())
    out = tmp_path / "model.bin"
    exporter.export(exporter.open_checkpoint(source), out, format="v3", provenance=False)
    check = next(check for check in judged(bare, out).checks if check.name == "tokenizer")
    assert check.status == "skipped"
    assert "expected a tokenizer, found no such file" in check.detail


def test_a_file_without_a_tokenizer_has_no_such_check(source: Path, tmp_path: Path) -> None:
    out = tmp_path / "model.bin"
    exporter.export(exporter.open_checkpoint(source), out, format="v3", tokenizer_block=False)
    report = judged(source, out)
    assert report.passed
    assert "tokenizer" not in [check.name for check in report.checks]
    assert report.tokenizers == ()


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("demo") / "model.bin"
    exporter.export(exporter.open_checkpoint(CHECKPOINT), out, format="v0")
    entries = from_sentencepiece(processor_of(Path(verify.demo.__file__).with_name("tokenizer.model")))
    out.with_name("tokenizer.bin").write_bytes(content(entries))
    return out


def test_a_tokenizer_bin_that_the_user_names_is_judged(demo: Path) -> None:
    words = demo.with_name("tokenizer.bin")
    report = judged(CHECKPOINT, demo, tokenizer_file=words)
    assert report.passed
    [found] = report.tokenizers
    assert (found.form, found.path, found.library, found.texts) == ("llama2c", str(words), "sentencepiece", 2000)


def test_a_tokenizer_bin_of_another_order_fails_and_is_named(demo: Path, tmp_path: Path) -> None:
    words = demo.with_name("tokenizer.bin").read_bytes()
    wrong = tmp_path / "tokenizer.bin"
    # the longest piece is stated first
    wrong.write_bytes((99).to_bytes(4, "little") + words[4:])
    report = judged(CHECKPOINT, demo, tokenizer_file=wrong)
    [check] = report.blamed
    assert check.name == "tokenizer"
    assert check.detail.startswith("max_token_length: expected ")
    assert check.where == {"field": "longest"}


def test_a_directory_takes_no_tokenizer_file(source: Path, demo: Path) -> None:
    with pytest.raises(verify.CannotJudgeError, match=r"^tokenizer-file: expected a \.bin file to judge, found "):
        verify.verify(source, source, tokenizer_file=demo.with_name("tokenizer.bin"))


def test_a_release_judges_the_tokenizer_that_it_writes(tmp_path: Path) -> None:
    out, words = tmp_path / "model.bin", tmp_path / "words.bin"
    released = verify.release(CHECKPOINT, out, format="v0", depth="quick", windows=1, tokenizer_out=words)
    assert released.report.passed
    [found] = released.report.tokenizers
    assert (found.path, found.bytes) == (str(words), words.stat().st_size)


def test_a_json_that_makes_the_library_panic_skips_the_check(source: Path, file: Path, tmp_path: Path) -> None:
    broken = tmp_path / "hf"
    shutil.copytree(source, broken)
    said = json.loads((broken / "tokenizer.json").read_text())
    said["model"]["continuing_subword_prefix"] = "##"
    (broken / "tokenizer.json").write_text(json.dumps(said))
    check = next(check for check in judged(broken, file).checks if check.name == "tokenizer")
    assert check.status == "skipped"
    assert "expected a tokenizer.json, found none that loads: " in check.detail
