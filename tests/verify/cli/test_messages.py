"""Mistakes that people make, with the exact words of their messages: what is wrong, then what to type next."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from helpers.command_line import run

import reader_c

GIVE_HF = "give the Hugging Face model that it was made from"
DETECT = "omit --source-kind to detect the kind"
SOURCES = {
    "alone.safetensors": "a safetensors file: give the directory that has its config.json",
    "hf/model.safetensors": "a safetensors file: give its directory, hf",
    "consolidated.00.pth": "a weight file of Meta's: give the directory that has its params.json",
    "meta/consolidated.00.pth": "a weight file of Meta's: give its directory, meta",
    "model.gguf": f"a GGUF file: {GIVE_HF}",
    "model.onnx": "an ONNX file: give the PyTorch model that it was exported from",
    "archive.zip": "a zip archive without a checkpoint of torch.save: unpack it, and give the model in it",
    "text.txt": "a text file: give the model's checkpoint or directory",
    "hf/config.json": "a JSON file: give its directory, hf",
    "empty.pt": "an empty file: copy or download it again",
    "array.npy": "an .npy file of numpy: give the checkpoint that it was made from",
    "old.pt": "a pickle of an old torch.save: load it with torch.load and save it again with torch.save",
    "tokenizer.model": "a tokenizer: give the model that it belongs to",
    "odd": "a file of an unknown kind: give a llama2.c .pt or .bin, or the model's directory",
}


def says(command: tuple[object, ...], message: str) -> None:
    result = run(*command)
    assert (result.returncode, result.stdout) == (2, "")
    assert result.stderr == f"error: {message}\n"


@pytest.mark.usefixtures("in_wrong")
@pytest.mark.parametrize("name", SOURCES)
def test_a_file_that_is_no_source_gets_the_same_words_from_both_roads(name: str) -> None:
    message = f"{name}: source: expected a checkpoint, found {SOURCES[name]}"
    says(("export", name, "out.bin", "--format", "v2"), message)
    says(("verify", name, "v2.bin", "--depth", "quick"), message)


@pytest.mark.usefixtures("in_wrong")
@pytest.mark.parametrize(
    ("source", "kind", "expected", "found"),
    [
        ("checkpoint.pt", "huggingface", "a directory with config.json", "a file"),
        ("checkpoint.pt", "meta", "a directory with params.json and consolidated.00.pth", "a file"),
        ("hf", "v3", "a .bin file of version 3", "a directory"),
        ("v2.bin", "v3", "a .bin file of version 3", "a .bin file of version 2"),
        ("v1.bin", "llama2c", "a checkpoint of torch.save (.pt)", "a .bin file of version 1"),
        ("v3.bin", "bin", "a .bin file of llama2.c (v0, v1 or v2) or qwen3.c (ajc1)", "a .bin file of version 3"),
    ],
)
def test_a_source_of_another_kind_than_the_one_named(source: str, kind: str, expected: str, found: str) -> None:
    message = f"{source}: source: expected {expected} for --source-kind {kind}, found {found}: {DETECT}"
    says(("export", source, "out.bin", "--format", "v2", "--source-kind", kind), message)
    says(("verify", source, "v0.bin", "--depth", "quick", "--source-kind", kind), message)


@pytest.mark.usefixtures("in_wrong")
@pytest.mark.parametrize("command", ["export", "release"])
@pytest.mark.parametrize(
    ("out", "form", "message"),
    [
        (
            "v2.bin",
            "v2",
            "v2.bin: OUT: expected nothing there, found a file: add --overwrite (in Python: overwrite=True) to "
            "replace it",
        ),
        (
            "hf",
            "hf",
            "hf: OUT: expected nothing there, found a directory: add --overwrite (in Python: overwrite=True) to "
            "replace it",
        ),
        (
            "hf",
            "v2",
            "hf: OUT: expected a regular file or nothing, found a directory: give a path inside it, such as "
            "hf/model.bin",
        ),
        ("v2.bin", "hf", "v2.bin: OUT: expected a directory or nothing, found a file: choose another path"),
        ("-", "v2", "OUT: expected a path, found -: give a file's name; for a file called -, give ./-"),
    ],
)
def test_a_target_that_cannot_be_written(command: str, out: str, form: str, message: str) -> None:
    says((command, "checkpoint.pt", out, "--format", form), message)


@pytest.mark.parametrize(
    ("pattern", "advice"),
    [
        ("wq", "give '*.wq.*', or '*wq*' for each tensor whose name has wq in it"),
        ("attention", "give '*.attention.*', or '*attention*' for each tensor whose name has attention in it"),
        ("layers.0.attention.wqq.weight", "did you mean '*.wq.*'?"),
        ("*.w_q.*", "did you mean '*.wq.*'?"),
    ],
)
def test_a_storage_pattern_that_matches_nothing_gets_the_nearest(in_wrong: Path, pattern: str, advice: str) -> None:
    says(
        ("export", "checkpoint.pt", "out.bin", "--format", "v3", "--storage", f"{pattern}=q8_0"),
        f"storage: expected a pattern that matches a tensor's name, found {pattern!r}: {advice}",
    )
    assert not (in_wrong / "out.bin").exists()


@pytest.mark.usefixtures("in_wrong")
@pytest.mark.parametrize(
    ("source", "file", "found"),
    [
        ("v2.bin", "checkpoint.pt", "a checkpoint of torch.save"),
        ("v0.bin", "checkpoint.pt", "a checkpoint of torch.save"),
        ("v2.bin", "meta", "Meta's directory"),
    ],
)
def test_swapped_arguments(source: str, file: str, found: str) -> None:
    for command in ("verify", "certify"):
        says(
            (command, source, file),
            f"{source} {file}: expected SOURCE, then FILE, found a .bin file, then {found}: swapped? "
            f"type `export-and-verify {command} {file} {source}`",
        )


@pytest.mark.usefixtures("in_wrong")
def test_a_tokenizer_of_more_tokens_than_the_model() -> None:
    says(
        ("verify", "checkpoint.pt", "v2.bin", "--depth", "quick", "--text", "text.txt"),
        "tokenizer.model: token: expected ids below the model's vocab_size of 29, found 500 in text.txt: tokenizer "
        "and model do not belong together: give the model's own with --tokenizer FILE",
    )


@pytest.mark.usefixtures("in_wrong")
def test_groups_of_one_weight_are_refused_before_anything_is_read() -> None:
    for command in ("export", "release"):
        says(
            (command, "nothing", "out.bin", "--format", "v2", "--group-size", 1),
            "--group-size: expected 2 or more, found 1: a weight with a scale of its own takes 5 bytes, and 4 as "
            "float32: give --group-size 64, or --format v1-fp32",
        )


def test_a_flipped_bit_has_one_number_in_its_row_and_no_limit_is_suggested(tmp_path: Path, source: Path) -> None:
    out = tmp_path / "m.bin"
    assert run("export", source, out, "--format", "v0").returncode == 0
    with reader_c.open(out) as model:
        at = model.spans("layers.0.attention.wv.weight")[0].offset
    content = bytearray(out.read_bytes())
    content[at + 3] ^= 0x02
    out.write_bytes(content)
    result = run("verify", source, out, "--depth", "quick", "--json")
    assert result.returncode == 1
    report = json.loads(result.stdout)
    (row,) = [check for check in report["checks"] if check["name"] == "operations"]
    if row["status"] == "fail":
        assert row["detail"].count(" times") == 1
        assert f"{row['observed']:.4g} times" in row["detail"]
    shown = run("verify", source, out, "--depth", "quick").stdout
    assert "smallest limit" not in shown
    assert "`export-and-verify docs debugging-a-mismatch`" in shown
    # nothing is padded, and each check is one line
    assert not [line for line in shown.splitlines() if line != line.rstrip()]
    assert len([line for line in shown.splitlines() if line.startswith("tensors ")]) == 1


def test_a_policy_s_key_is_the_name_of_its_metric_on_the_terminal(tmp_path: Path, source: Path, good: Path) -> None:
    default = run("verify", "--print-policy").stdout
    strict = tmp_path / "strict.toml"
    strict.write_text(f"{default}\n[v2.quantization]\ntop1_agreement = 1.0\nkl_mean = 1e-12\n")
    result = run("verify", source, good, "--depth", "quick", "--policy", strict)
    assert result.returncode == 1
    assert "kl_mean by float32 activations: limit 1e-12, found " in result.stdout
    assert "top1_disagreement" not in result.stdout


def test_a_text_of_few_tokens_is_noted_in_the_report(tmp_path: Path) -> None:
    from verify.demo import CHECKPOINT

    text, out = tmp_path / "two.txt", tmp_path / "m.bin"
    text.write_text("a\n")
    released = run("release", CHECKPOINT, out, "--format", "v2", "--depth", "quick", "--windows", 1, "--text", text)
    assert released.returncode == 0, released.stderr
    report = json.loads((tmp_path / "m.bin.report" / "report.json").read_text())
    (note,) = report["notes"]
    assert note.startswith("text: its perplexity is over ")
    assert note.endswith(", which says little: give at least 101 tokens")
    assert f"\nnote: {note}\n" in released.stdout
