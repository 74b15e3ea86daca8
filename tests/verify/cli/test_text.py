"""generate and perplexity as a user calls them."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from helpers.arch_files import Arch, random_weights, write
from helpers.command_line import refused, run, run_on_terminal, run_process
from helpers.models import checkpoint, config
from helpers.tokenizer_bins import byte_entries, from_sentencepiece, save
from helpers.tokenizer_blocks import BEGINS, SPECIAL, Block

import exporter
import reader_c
import verify.demo
from verify.demo import CHECKPOINT, HELD_OUT_TEXT


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    import sentencepiece

    out = tmp_path_factory.mktemp("model") / "model.bin"
    exporter.export(exporter.open_checkpoint(CHECKPOINT), out, format="v2")
    model = Path(verify.demo.__file__).with_name("tokenizer.model")
    save(out.with_name("tokenizer.bin"), from_sentencepiece(sentencepiece.SentencePieceProcessor(str(model))))
    return out


@pytest.mark.parametrize("options", [[], ["--arithmetic", "mirror"], ["--activations", "q8", "--top-p", "0.5"]])
def test_the_text_is_that_of_the_reader_and_the_rate_stands_apart(file: Path, options: list[str]) -> None:
    result = run("generate", file, "In the beginning", "--seed", 3, "--steps", 40, *options)
    assert result.returncode == 0
    given = dict(zip([word[2:].replace("-", "_") for word in options[::2]], options[1::2], strict=True))
    if "top_p" in given:
        given["top_p"] = float(given["top_p"])
    with reader_c.open(file) as model:
        tokenizer = reader_c.Tokenizer(file.with_name("tokenizer.bin"), model.config.vocab_size)
        text = b"".join(reader_c.generate(model, tokenizer, "In the beginning", steps=40, seed=3, **given))
    assert result.stdout == text.decode() + "\n"
    assert re.fullmatch(r"40 tokens, \d+\.\d tokens a second, seed 3\n", result.stderr)


def test_a_prompt_that_leaves_no_room_is_printed_with_a_note(file: Path) -> None:
    prompt = "In the beginning God created the heaven and the earth. "
    for options, most, advice in (
        (("--steps", 5), "5", "give more --steps"),
        (("--steps", 0), "256", "the model's max_seq_len allows no more"),
    ):
        result = run("generate", file, prompt * 20, "--seed", 3, *options)
        assert result.returncode == 0
        assert (prompt * 20).startswith(result.stdout.removesuffix("\n"))
        note, rate = result.stderr.splitlines()
        assert re.fullmatch(
            rf"note: PROMPT: expected fewer than {most} tokens, found [\d,]+: nothing follows them; {advice}", note
        )
        assert rate == f"{most} tokens, seed 3"
    assert run("generate", file, prompt * 20, "--steps", 5, "--quiet").stderr == ""
    assert re.fullmatch(
        r"5 tokens, [0-9.]+ tokens a second, seed 1\n", run("generate", file, "", "--steps", 5, "--seed", 1).stderr
    )


def test_a_model_s_own_tokenizer_needs_no_file(tmp_path: Path) -> None:
    pieces = [*(bytes([byte]) for byte in range(256)), b"<s>"]
    block = Block(flags=BEGINS, pieces=pieces, added=[(256, SPECIAL)], bos=256, eos_ids=[256])
    shape = replace(Arch(), vocab_size=260)
    write(tmp_path / "model.bin", shape, random_weights(shape), tokenizer=block.content())
    result = run("generate", tmp_path / "model.bin", "In", "--seed", 3, "--steps", 8)
    assert result.returncode == 0
    assert result.stdout.startswith("In")
    # a tokenizer that is given comes first
    (tmp_path / "wrong").write_bytes(b"")
    refused(
        run("generate", tmp_path / "model.bin", "--tokenizer", tmp_path / "wrong"), "file size: expected at least"
    )


def test_quiet_prints_the_text_alone_and_a_seed_from_the_time_repeats_it(file: Path) -> None:
    first = run("generate", file, "--steps", 30)
    (seed,) = re.findall(r"seed (\d+)$", first.stderr.strip())
    again = run("generate", file, "--steps", 30, "--seed", seed, "--quiet")
    assert (again.stdout, again.stderr) == (first.stdout, "")


def test_what_cannot_be_generated_is_refused_in_one_line(file: Path, tmp_path: Path) -> None:
    alone = tmp_path / "model.bin"
    alone.write_bytes(file.read_bytes())
    refused(run("generate", alone), f"{tmp_path}/tokenizer.bin: expected llama2.c's tokenizer, found none: give one")
    refused(run("generate", file, "--tokenizer", tmp_path), "tokenizer: expected a readable regular file")
    refused(run("generate", file, "--seed", 0), "seed: expected 1 to 2^64 - 1, found 0")
    refused(run("generate", file, "--arithmetic", "slow"), "--arithmetic: expected fast or mirror, found 'slow'")
    wrong = save(tmp_path / "other.bin", byte_entries())
    refused(
        run("generate", file, "--tokenizer", wrong), "file size: expected at least", "tokenizer of another model?"
    )
    refused(run("generate", file, "--steps", -1), "steps: expected 0 or more, found -1")


def test_a_refused_value_is_named_by_its_option(file: Path, tmp_path: Path) -> None:
    for options, message in (
        (("--temperature", -1), "--temperature: expected a finite number, 0 or more, found -1.0"),
        (("--temperature", "nan"), "--temperature: expected a finite number, 0 or more, found nan"),
        (("--top-p", 1.5), "--top-p: expected a number from 0 to 1, found 1.5"),
        (("--seed", 0), "--seed: expected 1 to 2^64 - 1, found 0"),
        (("--steps", -1), "--steps: expected 0 or more, found -1"),
        (("--threads", 0), "--threads: expected 1 to 256, found 0"),
    ):
        assert run("generate", file, "In", *options).stderr == f"error: {message}\n"
    assert run("perplexity", file, HELD_OUT_TEXT, "--threads", 0).stderr.startswith("error: --threads: expected 1 to")
    other = tmp_path / "model.bin"
    exporter.export(exporter.open_checkpoint(CHECKPOINT), other, format="v0")
    other.with_name("tokenizer.bin").write_bytes(file.with_name("tokenizer.bin").read_bytes())
    q8 = f"error: {other}: --activations: expected fp32, because FILE has no Q8_0 tensors, found q8\n"
    # before anything is printed
    for command in (("generate", other, "In the"), ("perplexity", other, HELD_OUT_TEXT, "--quiet")):
        result = run(*command, "--activations", "q8")
        assert (result.returncode, result.stdout, result.stderr) == (2, "", q8)


def test_another_kind_of_file_is_named_with_what_to_type(file: Path, tmp_path: Path) -> None:
    model = Path(verify.demo.__file__).with_name("tokenizer.model")
    refused(
        run("generate", file, "--tokenizer", model),
        f"(is it a SentencePiece model?): write it in llama2.c's format first: `export-and-verify tokenizer {model} "
        "tokenizer.bin --format llama2c`",
    )
    (tmp_path / "config.json").write_text("{}")
    for command in (("generate",), ("perplexity", HELD_OUT_TEXT)):
        for given, kind in ((CHECKPOINT, "a checkpoint of torch.save"), (tmp_path, "a directory")):
            refused(
                run(command[0], given, *command[1:], "--quiet"),
                f"{given}: FILE: expected a .bin file, found {kind}: export it first: `export-and-verify export "
                f"{given} model.bin --format v3`",
            )
    (tmp_path / "zero").write_bytes(b"In\0the")
    refused(
        run("perplexity", file, tmp_path / "zero"), f"{tmp_path}/zero: byte 2: expected a text, found a zero byte"
    )
    refused(run("perplexity", file, tmp_path), f"{tmp_path}: expected a text, found a directory")


def test_perplexity_prints_what_it_scored(file: Path, tmp_path: Path) -> None:
    result = run("perplexity", file, HELD_OUT_TEXT)
    assert result.returncode == 0
    number = r"\d+\.\d+"
    expected = rf"""nats a token: {number} \(95 % interval {number} to {number}\)
perplexity: {number} \(95 % interval {number} to {number}\)
bits a byte: {number}
scored: 14,304 of 14,305 tokens, 31,191 bytes, in 111 windows of up to 256 tokens; fast, activations fp32
"""
    assert re.fullmatch(expected, result.stdout)
    short = tmp_path / "short.txt"
    short.write_text("In the beginning")
    found = run("perplexity", file, short).stdout
    assert "(no interval: one window)" in found
    assert "16 bytes, in 1 window of up to 9 tokens" in found


def test_perplexity_as_json_has_every_number(file: Path) -> None:
    result = run("perplexity", file, HELD_OUT_TEXT, "--json", "--length", 128, "--activations", "q8")
    found = json.loads(result.stdout)
    assert found["length"] == 128
    assert found["activations"] == "q8"
    assert found["perplexity_ci"][0] < found["perplexity"] < found["perplexity_ci"][1]
    assert set(found) >= {
        "nats_per_token",
        "nats_per_token_ci",
        "bits_per_byte",
        "tokens",
        "scored",
        "windows",
        "bytes",
    }


def test_perplexity_without_a_tokenizer_is_refused(file: Path, tmp_path: Path) -> None:
    alone = tmp_path / "model.bin"
    alone.write_bytes(file.read_bytes())
    refused(
        run("perplexity", alone, HELD_OUT_TEXT), "expected a tokenizer beside model.bin, found none: give one with"
    )


@pytest.mark.slow
def test_a_reader_that_stops_early_is_no_error(file: Path) -> None:
    command = f"{sys.executable} -m verify generate {file} --steps 0 --seed 1"
    result = subprocess.run(
        ["bash", "-o", "pipefail", "-c", f"{command} | head -c 5"], capture_output=True, check=False
    )
    assert (result.returncode, len(result.stdout), result.stderr) == (0, 5, b"")


@pytest.mark.slow
def test_ctrl_c_ends_the_text_with_a_line_and_its_own_status(tmp_path: Path) -> None:
    """A model that is slow enough to be interrupted."""
    shape = config(dim=256, hidden_dim=512, n_layers=8, vocab_size=259, max_seq_len=100_000, n_heads=4, n_kv_heads=4)
    exporter.export(checkpoint(shape), tmp_path / "model.bin", format="v1-fp32")
    save(tmp_path / "tokenizer.bin", [*byte_entries()[:-1], (b" ", 0.0)])
    command = [sys.executable, "-m", "verify", "generate", str(tmp_path / "model.bin"), "--steps", "0"]
    # the most probable tokens never end the text, as a drawn one may
    command += ["--temperature", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.read(10)
        process.send_signal(signal.SIGINT)
        rest, error = process.stdout.read(), process.stderr.read()
    assert process.returncode == 130
    assert error == b"error: interrupted\n"
    assert rest.endswith(b"\n")


@pytest.mark.slow
def test_bytes_are_unchanged_in_a_pipe_and_safe_on_a_terminal(tmp_path: Path) -> None:
    """A model that says control characters and bytes that are no UTF-8."""
    entries = [*byte_entries()[:259], (b" ", 0.0), (b"[31m", 0.0), (b"\x1b[31m", 1.0), (b"\xff\xc3\xa9", 0.0)]
    shape = config(vocab_size=len(entries), max_seq_len=8)
    exporter.export(checkpoint(shape), tmp_path / "model.bin", format="v0")
    save(tmp_path / "tokenizer.bin", entries)
    how = ["generate", tmp_path / "model.bin", "\x1b[31m", "--steps", "6", "--temperature", "0", "--quiet"]
    piped = subprocess.run([sys.executable, "-m", "verify", *map(str, how)], capture_output=True, check=False).stdout
    with reader_c.open(tmp_path / "model.bin") as model:
        tokenizer = reader_c.Tokenizer(tmp_path / "tokenizer.bin", len(entries))
        text = b"".join(reader_c.generate(model, tokenizer, "\x1b[31m", steps=6, temperature=0))
    assert b"\x1b" in text
    assert piped == text + b"\n"
    seen = run_on_terminal(*how)
    assert "\x1b" not in seen
    assert "\\x1b[31m" in seen


@pytest.mark.slow
def test_the_commands_import_no_pytorch_before_they_speak(file: Path) -> None:
    result = run_process("generate", file, "--steps", 3, "--quiet", "--seed", 1)
    assert result.returncode == 0
    probe = "import sys; sys.argv = ['x', 'generate', sys.argv[1], '--steps', '3', '--quiet']\n"
    probe += "from verify.cli import main\ntry:\n    main()\nexcept SystemExit:\n    sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", probe, str(file)], capture_output=True, check=False).returncode == 0
