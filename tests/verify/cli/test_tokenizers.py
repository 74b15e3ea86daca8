"""tokenizer, and the options of export and release about tokenizers, as a user calls them."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest
from helpers.command_line import refused, run
from helpers.tokenizer_sources import save_model_of, save_sentencepiece

import exporter
import reader_c
from exporter.tokenizers.llama2c import write_llama2c
from exporter.tokenizers.read import read_tokenizer
from verify.demo import CHECKPOINT

DEMO = CHECKPOINT.with_name("tokenizer.model")
QUICK = ("--depth", "quick", "--quiet")


@pytest.fixture
def model(tmp_path: Path) -> Path:
    source = save_model_of(tmp_path / "model")
    save_sentencepiece(source.with_name("tokenizer.model"))
    return source


def names(directory: Path) -> set[str]:
    return {path.name for path in directory.iterdir()}


def test_tokenizer_writes_one_file_and_says_what_it_is(tmp_path: Path) -> None:
    out = tmp_path / "tokenizer.bin"
    result = run("tokenizer", DEMO.parent, out, "--format", "llama2c", "--vocab-size", 512)
    digest = hashlib.sha256(out.read_bytes()).hexdigest()
    assert result.returncode == 0
    assert result.stdout == f"{out}: llama2c, 6,275 bytes, 512 tokens, sha256 {digest}\n"
    assert result.stderr.startswith(f"note: {DEMO}: SentencePiece drops spaces at the ends of a text")
    assert reader_c.Tokenizer(out, 512).encode("In the beginning")
    quiet = run("tokenizer", DEMO, out, "--format", "llama2c", "--overwrite", "--quiet")
    assert (quiet.returncode, quiet.stdout) == (0, "")


def test_what_a_format_cannot_hold_is_one_line_with_status_2(tmp_path: Path) -> None:
    out = tmp_path / "block"
    refused(
        run("tokenizer", DEMO, out, "--format", "qwen3c"),
        f"error: {DEMO}: qwen3c: pieces: expected bytes as in GPT-2 and Qwen, found characters",
    )
    refused(
        run("tokenizer", DEMO, out, "--format", "llama2c", "--vocab-size", 100),
        "llama2c: tokens: expected 100 as the model has, found 512",
    )
    refused(run("tokenizer", DEMO, out, "--format", "gguf"), "expected llama2c, qwen3c or v3, found 'gguf'")
    refused(run("tokenizer", tmp_path, out, "--format", "v3"), "expected a tokenizer, found none of tokenizer.json")
    assert names(tmp_path) == set()


def test_a_number_below_its_least_is_refused(tmp_path: Path) -> None:
    result = run("tokenizer", DEMO, tmp_path / "out", "--format", "llama2c", "--vocab-size", 0)
    assert result.stderr == "error: --vocab-size: expected 1 or more, found 0\n"


def test_export_puts_the_tokenizer_into_v3_unless_told_otherwise(tmp_path: Path, model: Path) -> None:
    out = tmp_path / "out.bin"
    assert run("export", model, out, "--format", "v3").returncode == 0
    assert read_tokenizer(out).pieces == read_tokenizer(model.parent).pieces
    assert run("export", model, out, "--format", "v3", "--no-tokenizer", "--overwrite").returncode == 0
    with pytest.raises(exporter.CheckpointError, match="found one without"):
        read_tokenizer(out)
    save_sentencepiece(model.with_name("tokenizer.model"), byte_fallback=False)
    noted = run("export", model, out, "--format", "v3", "--overwrite")
    assert noted.returncode == 0
    why = f"{model.with_name('tokenizer.model')}: v3: byte_fallback: expected true, found false"
    assert f"note: v3 without a tokenizer block: {why}" in noted.stderr
    content = out.read_bytes()
    refused(run("export", model, out, "--format", "v3", "--with-tokenizer", "--overwrite"), why)
    assert out.read_bytes() == content


def test_the_bundled_model_is_one_file_that_speaks(tmp_path: Path) -> None:
    out = tmp_path / "demo.bin"
    assert run("export", CHECKPOINT, out, "--format", "v3", "--with-tokenizer").returncode == 0
    model = read_tokenizer(out)
    assert (model.pieces, model.strips_spaces) == (read_tokenizer(DEMO).pieces, True)
    spoken = run("generate", out, "In the beginning", "--seed", 3, "--steps", 20)
    assert spoken.stdout.startswith("In the beginning")


def test_release_writes_weights_and_tokenizer(tmp_path: Path, model: Path) -> None:
    out, beside = tmp_path / "out.bin", tmp_path / "tokenizer.bin"
    command = ("release", model, out, "--format", "v2", "--tokenizer-out", beside, *QUICK)
    assert run(*command).returncode == 0
    assert beside.read_bytes() == write_llama2c(read_tokenizer(model.parent))
    assert names(tmp_path) == {"model", "out.bin", "out.bin.report", "tokenizer.bin"}
    out.unlink()
    refused(run(*command), f"{beside}: OUT: expected nothing there, found a file")
    assert not out.exists()
    assert run(*command, "--overwrite").returncode == 0
    assert out.exists()


def test_a_release_that_fails_writes_neither(tmp_path: Path, model: Path) -> None:
    policy = tmp_path / "strict.toml"
    policy.write_text(
        f"{run('verify', '--print-policy').stdout}\n".replace("[v2]", "[v2]\nquantization.kl_mean = 0\n")
    )
    out, beside = tmp_path / "out.bin", tmp_path / "tokenizer.bin"
    beside.write_bytes(b"mine")
    command = ("release", model, out, "--format", "v2", "--tokenizer-out", beside, "--overwrite", *QUICK)
    assert run(*command, "--policy", policy).returncode == 1
    assert (beside.read_bytes(), out.exists()) == (b"mine", False)
    assert names(tmp_path) == {"model", "strict.toml", "out.bin.rejected", "tokenizer.bin"}


def test_a_tokenizer_out_that_makes_no_sense_is_refused_before_any_work(tmp_path: Path, model: Path) -> None:
    out = tmp_path / "out.bin"
    same = run("release", model, out, "--format", "v2", "--tokenizer-out", out, *QUICK)
    refused(same, f"{out}: tokenizer_out: expected another path than OUT, found the same")
    directory = run("release", model, out, "--format", "hf", "--tokenizer-out", tmp_path / "t", *QUICK)
    refused(directory, "tokenizer_out: expected none for hf, which carries the source's tokenizer along")
    model.with_name("tokenizer.model").unlink()
    none = run("release", model, out, "--format", "v2", "--tokenizer-out", tmp_path / "t", *QUICK)
    refused(none, "expected a tokenizer beside the source, found none: omit --tokenizer-out (tokenizer_out)")
    assert names(tmp_path) == {"model"}


def test_neither_file_appears_where_the_weights_cannot(
    tmp_path: Path, model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import verify.release_file

    def failing(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(verify.release_file, "publish", failing)
    command = ("release", model, tmp_path / "out.bin", "--format", "v2", "--tokenizer-out", tmp_path / "t", *QUICK)
    refused(run(*command), f"{tmp_path / 'out.bin'}: cannot be written: no space left on device")
    assert names(tmp_path) == {"model"}
