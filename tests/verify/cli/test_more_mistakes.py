"""More mistakes, one of each kind: the line that each of them gets."""

from __future__ import annotations

import pytest
from helpers.command_line import run

VERIFY = ("verify", "checkpoint.pt", "v2.bin", "--depth", "quick")
EXPORT = ("export", "checkpoint.pt", "out.bin", "--format")
HELP = "`export-and-verify {} --help` lists what it takes"

# command -> the end of its message, after "error: "
MISTAKES: dict[tuple[object, ...], str] = {
    ("exprt",): "exprt: expected a command, found none of this name: did you mean `export-and-verify export`?",
    ("help",): "help: expected a command, found none of this name: `export-and-verify --help` lists them",
    ("--verson",): "--verson: expected an option of this command, found none of this name: did you mean --version?",
    ("verify", "--hepl"): "verify: --hepl: expected an option of this command, found none of this name: did you mean "
    "--help?",
    ("verify", "checkpoint.pt"): f"verify: FILE: expected this argument, found none: {HELP.format('verify')}",
    (
        "export",
        "checkpoint.pt",
        "out.bin",
    ): "export: --format: expected v0, v1, v1-fp32, v2, v3, ajc1 or hf, found none: " + HELP.format("export"),
    (*EXPORT, "v4"): "--format: expected v0, v1, v1-fp32, v2, v3, ajc1 or hf, found 'v4'",
    (*VERIFY[:3], "--depth", "standrad"): "--depth: expected quick, standard or full, found 'standrad': did you mean "
    "standard?",
    (*VERIFY, "v3.bin"): "verify: expected no more arguments, found v3.bin: quote a path with spaces; "
    + HELP.format("verify"),
    (*VERIFY, "--windows"): "--windows: expected a value behind it, found none",
    (*VERIFY, "--windows", "many"): "--windows: expected an integer, found 'many'",
    (*VERIFY, "--engine-timeout", "5"): "--engine-timeout: expected --engine or --engine-command beside it, found "
    "none",
    (*VERIFY, "--steps", "8"): "--steps: expected --prompt beside it, found none",
    ("release", "checkpoint.pt", "out", "--format", "hf", "--prompt", "The"): "--prompt: expected the format of a "
    ".bin file, found hf: omit --prompt",
    (*VERIFY, "--memory", "4G"): "--memory: expected a size as 4GiB or 500MB, found '4G': write 4GiB",
    (*VERIFY, "--memory", "lots"): "--memory: expected a size as 4GiB or 500MB, found 'lots'",
    (*VERIFY, "--workers", "2"): "--workers: expected --cluster beside it, found none",
    (*VERIFY, "--text", "none.txt"): "none.txt: expected a text, found: no such file or directory",
    (
        *VERIFY,
        "--text",
        "latin.txt",
    ): "latin.txt: expected UTF-8 text, found byte 3 to be none: convert it with iconv",
    (*VERIFY, "--tokenizer", "tokenizer.model"): "tokenizer: expected a text to encode, found none: give --text FILE",
    (*VERIFY, "--tokens", "floats.npy"): "floats.npy: expected integers of shape (windows, length), found float64 "
    "(2, 4)",
    (*VERIFY, "--tokens", "large_ids.npy"): "large_ids.npy: window 0: token 0: expected 0 to 28, found 999",
    (*VERIFY, "--policy", "strict"): "strict: expected a policy, found: no such file or directory: `verify "
    "--print-policy` prints one to start from",
    (*VERIFY, "--policy", "empty.toml"): "empty.toml: expected a table [v2], found none",
    (*VERIFY, "--baseline", "v2.bin"): "v2.bin: expected a report.json, found: no JSON: byte 256 is not UTF-8",
    ("judge", "hf"): "hf: expected a report.json, found: a directory: give hf/report.json",
    ("judge", "other.json"): "other.json: schema: expected export-and-verify/report/1, found None",
    ("verify", "checkpoint.pt", "checkpoint.pt"): "checkpoint.pt: FILE: expected a .bin file, found a checkpoint of "
    "torch.save: export it first: `export-and-verify export checkpoint.pt model.bin --format v3`",
    ("verify", "checkpoint.pt", "text.txt"): "text.txt: FILE: expected a .bin file, found a text file: give the file "
    "that was exported",
    ("inspect", "hf/config.json"): "hf/config.json: FILE: expected a .bin file, found a JSON file: give the file "
    "that was exported",
    ("diff", "v2.bin", "model.gguf"): "model.gguf: FILE: expected a .bin file, found a GGUF file: give the file that "
    "was exported",
    ("diff", "v2.bin", "hf"): "hf: expected a .bin file, found a directory: export it as v3, which loses nothing",
    ("inspect", "v2.bin", "--tensor", "wq"): "v2.bin: tensor: expected a name in the file, found 'wq': the nearest "
    "are layers.0.attention.wq.weight, layers.1.attention.wq.weight",
    ("inspect", "v2.bin", "--npy", "x.npy"): "--npy: expected --tensor NAME beside it, found none",
    ("inspect", "v2.bin", "--tensor", "norm.weight", "--npy", "array.npy"): "array.npy: --npy: expected nothing "
    "there, found a file: give another name",
    ("inspect", "hf", "--tensor", "norm.weight"): "hf: FILE: expected a .bin file for --tensor, found a directory: "
    "export it as v3",
    ("inspect", "nothing_in_it"): "nothing_in_it: source: expected config.json or params.json in it, found neither: "
    "give the directory that has the model",
    (*EXPORT, "v2", "--storage", "q8_0"): "storage: expected none for v2, which fixes its own, found 'q8_0': give "
    "--format v3",
    (*EXPORT, "v2", "--group-size", "64.5"): "--group-size: expected an integer, found '64.5'",
    ("export", "weights.pth", "out.bin", "--format", "v2"): "weights.pth: model: expected a dict, found a bare state "
    "dict: save it as {'model': state_dict, 'model_args': {dim, n_layers, n_heads, vocab_size, max_seq_len}}",
    ("export", "hf_weights.pth", "out.bin", "--format", "v2"): "hf_weights.pth: model: expected a dict, found the "
    "weights of a Hugging Face model: give the directory that has its config.json",
    ("export", "chekpoint.pt", "out.bin", "--format", "v2"): "chekpoint.pt: source: expected a llama2.c .pt or .bin, "
    "a v3 .bin, a directory of Meta's or Hugging Face's, or a hub id (org/name), found nothing there: did you mean "
    "checkpoint.pt?",
    ("docs", "polcy"): "polcy: expected a page of the documentation, found none of this name: did you mean policy?",
    ("completion", "tcsh"): "SHELL: expected bash, zsh or fish, found 'tcsh'",
    ("demo", "--out", "text.txt"): "text.txt: --out: expected a directory or nothing, found a file: choose another "
    "path",
    (*VERIFY, "--config", "none.toml"): "none.toml: --config: expected a TOML file, found: no such file or directory",
    ("verify", "checkpoint.pt", "long.bin"): "long.bin: file size: expected exactly 41320, found 41322: copy or "
    "export it again",
}


@pytest.mark.usefixtures("in_wrong")
@pytest.mark.parametrize("command", MISTAKES, ids=" ".join)
def test_a_mistake_gets_one_line_that_says_what_to_do(command: tuple[object, ...]) -> None:
    result = run(*command)
    assert (result.returncode, result.stdout) == (2, "")
    assert result.stderr == f"error: {MISTAKES[command]}\n"


def test_they_are_many() -> None:
    assert len(MISTAKES) >= 30
