"""The command line as a user or a CI job meets it: statuses, one-line errors, nothing changed on a refusal."""

from __future__ import annotations

import hashlib
import json
import os
import re
import struct
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from helpers.checkpoints import save, untied_state_dict
from helpers.command_line import refused, run, run_process
from helpers.models import BIN_FORMATS
from helpers.qwen3c import qwen3c_config, qwen3c_file

import reader_c
from verify.cli import main
from verify.cli.commands import app
from verify.report.files import NAMES


@pytest.mark.parametrize("command", [(), *((name,) for name in app.commands)])
def test_every_command_has_help_with_an_example_and_loads_no_torch(command: tuple[str, ...]) -> None:
    result = run_process(*command, "--help")
    assert result.returncode == 0
    assert "Example: export-and-verify" in result.stdout or not command
    code = f"""
import sys
sys.argv = ["export-and-verify", *{command!r}, "--help"]
from verify.cli import main
from verify.cli.commands import app
try:
    main()
except SystemExit as stop:
    assert stop.code == 0
assert not {{"torch", "scipy", "numpy"}} & sys.modules.keys()
"""
    assert subprocess.run([sys.executable, "-c", code], check=False, capture_output=True).returncode == 0


def test_inspect_of_a_file_imports_no_pytorch(good: Path) -> None:
    code = (
        "import sys; from verify.cli import main; sys.argv[0] = 'x'\ntry:\n    main()\nexcept SystemExit as stop:\n"
    )
    code += "    sys.exit(stop.code or 'torch' in sys.modules)"
    ended = subprocess.run([sys.executable, "-c", code, "inspect", str(good)], check=False, capture_output=True)
    assert ended.returncode == 0


def test_export_says_what_it_wrote_and_what_it_changed(tmp_path: Path, source: Path) -> None:
    out = tmp_path / "out.bin"
    result = run("export", source, out, "--format", "v1")
    assert result.returncode == 0
    assert f"{out.stat().st_size:,} bytes" in result.stdout
    note = "note: v1: group size 64 does not divide every row of this model; 8 is used"
    assert result.stderr.splitlines()[-1] == note
    assert re.search("^export: done in [0-9.]+ s$", result.stderr, re.MULTILINE)
    assert run("export", source, out, "--format", "v1", "--quiet", "--overwrite").stderr == f"{note}\n"


def test_two_matrices_that_model_py_ties_are_asked_for_by_every_command(tmp_path: Path) -> None:
    source, out = save(tmp_path, untied_state_dict()), tmp_path / "out.bin"
    release = ("release", source, tmp_path / "released.bin", "--format", "v0", "--depth", "quick", "--windows", "1")
    for command in (("export", source, out, "--format", "v0"), release):
        refused(run(*command), "--tied", "--untied")
    for option, kept in (("--tied", "which --tied reads in both places"), ("--untied", "--untied reads both")):
        exported = run("export", source, out, "--format", "v0", option, "--overwrite")
        assert exported.returncode == 0
        assert kept in exported.stderr
        refused(run("verify", source, out, "--depth", "quick"), "--tied", "--untied")
        judged = ("verify", source, out, "--depth", "quick", "--windows", "1", "--json")
        verified, other = run(*judged, option), run(*judged, "--untied" if option == "--tied" else "--tied")
        assert (verified.returncode, other.returncode) == (0, 1)
        note = f"{option}: tok_embeddings.weight and output.weight differ"
        assert json.loads(verified.stdout)["source"]["notes"][0].startswith(note)
        assert run(*release, option, "--overwrite").returncode == 0


def test_verify_passes_a_healthy_file_and_writes_the_report(tmp_path: Path, source: Path, good: Path) -> None:
    result = run("verify", source, good, "--depth", "quick", "--report", tmp_path / "the report", "--quiet")
    assert result.returncode == 0
    assert (result.stdout, result.stderr) == ("", "")
    result = run("verify", source, good, "--depth", "quick", "--report", tmp_path / "the report")
    assert result.returncode == 0
    assert "PASS" in result.stdout
    assert sorted(path.name for path in (tmp_path / "the report").iterdir()) == sorted(NAMES)
    report = json.loads((tmp_path / "the report" / "report.json").read_text())
    assert report["verdict"] == "pass"
    assert report["file"]["path"] == str(good)


@pytest.mark.slow
def test_json_is_all_there_is_on_standard_output(source: Path, good: Path) -> None:
    result = run_process("verify", source, good, "--depth", "quick", "--json", "--threads", 1)
    assert result.returncode == 0
    assert "error" not in result.stderr
    report = json.loads(result.stdout)
    assert report["schema"] == "export-and-verify/report/1"
    assert report["environment"]["threads"] == 1


def test_quiet_says_nothing_and_still_judges(source: Path, good: Path) -> None:
    content = bytearray(good.read_bytes())
    for expected in (0, 1):
        result = run("verify", source, good, "--depth", "quick", "--quiet")
        assert (result.returncode, result.stdout, result.stderr) == (expected, "", "")
        content[-1] ^= 1
        good.write_bytes(content)


def test_one_weight_changed_by_one_unit_fails_and_is_named(source: Path, good: Path) -> None:
    with reader_c.open(good) as model:
        span = model.spans("layers.1.feed_forward.w3.weight")[0]
    content = bytearray(good.read_bytes())
    at = span.offset + 11 * 48 + 13
    content[at] = (content[at] + 1) % 256
    good.write_bytes(content)
    result = run("verify", source, good, "--depth", "quick")
    assert result.returncode == 1
    assert "FAIL" in result.stdout
    assert "layers.1.feed_forward.w3.weight int8 [11, 13]: expected" in result.stdout


def test_the_last_byte_cut_off_cannot_be_judged(source: Path, good: Path) -> None:
    size = good.stat().st_size
    os.truncate(good, size - 1)
    refused(run("verify", source, good), "file size", f"expected exactly {size}", f"found {size - 1}")


def test_a_refusal_makes_no_report_directory(tmp_path: Path, source: Path) -> None:
    report = tmp_path / "deep" / "report"
    refused(run("verify", source, tmp_path / "none.bin", "--report", report), "none.bin")
    assert not report.parent.exists()


@pytest.mark.parametrize(("wanted", "found"), [(None, "passive"), ("active", "active")])
def test_threads_that_wait_sleep_unless_the_user_wants_otherwise(
    wanted: str | None, found: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.argv", ["export-and-verify", "--version"])
    if wanted is None:
        monkeypatch.delenv("OMP_WAIT_POLICY", raising=False)
    else:
        monkeypatch.setenv("OMP_WAIT_POLICY", wanted)
    with pytest.raises(SystemExit):
        main()
    assert os.environ["OMP_WAIT_POLICY"] == found


def test_a_bug_is_neither_a_pass_nor_a_fail(good: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import verify.inspect_file

    def broken(_path: Path) -> None:
        raise RuntimeError("a bug")

    monkeypatch.setattr(verify.inspect_file, "inspect_file", broken)
    result = run("inspect", good)
    assert result.returncode == 70
    assert "Traceback" in result.stderr


def test_standard_output_may_be_closed_or_full(good: Path) -> None:
    for ending, expected in ((">&-", 0), (">/dev/full", 2)):
        for flags in ("", "-u"):
            for json_or_not in ("", "--json"):
                code = f"{sys.executable} {flags} -m verify inspect {json_or_not} '{good}' {ending}"
                result = subprocess.run(["bash", "-c", code], capture_output=True, text=True, check=False)
                assert result.returncode == expected, result.stderr
                told = "error: standard output: cannot be written: no space left on device\n"
                assert result.stderr == (told if expected else "")


@pytest.mark.parametrize(
    "arguments",
    [
        ("verify", "source", "good", "--report", ""),
        ("verify", "source", "good", "--tokens", ""),
        ("release", "source", "", "--format", "v2"),
        ("export", "", "good", "--format", "v2"),
        ("judge", "report.json", "--policy", ""),
        ("inspect", ""),
        ("demo", "--out", ""),
    ],
    ids=" ".join,
)
def test_an_empty_path_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: tuple[str, ...]
) -> None:
    monkeypatch.chdir(tmp_path)
    refused(run(*arguments), "expected a path, found none")
    assert not list(tmp_path.iterdir())


def test_release_over_an_existing_file_must_be_asked_for(source: Path, good: Path) -> None:
    before = good.read_bytes()
    refused(run("release", source, good, "--format", "v2"), str(good), "found a file")
    assert good.read_bytes() == before
    assert run("release", source, good, "--format", "v0", "--overwrite", "--depth", "quick").returncode == 0
    assert good.read_bytes() != before


def test_inspect_tells_header_tensors_and_what_is_assumed(good: Path) -> None:
    result = run("inspect", good)
    assert result.returncode == 0
    for word in ("v2", "n_kv_heads", "rope_theta 10000", "layers.1.attention.wk.weight", "24 x 48", "scale"):
        assert word in result.stdout
    contents = json.loads(run("inspect", good, "--json").stdout)
    assert contents["config"]["n_kv_heads"] == 3
    parts = [part["bytes"] for tensor in contents["tensors"] for part in tensor["parts"]]
    assert sum(parts) + 256 == contents["head_bytes"] + sum(parts) == contents["bytes"] == good.stat().st_size


def test_inspect_tells_what_qwen3_c_assumes(tmp_path: Path) -> None:
    result = run("inspect", qwen3c_file(tmp_path / "model.bin", qwen3c_config()))
    assert result.returncode == 0
    assumed = (
        "rope_theta 1000000, no RoPE scaling, norm_eps 1e-6, norms of queries and keys per head, no biases, SiLU"
    )
    assert f"assumed by readers, because the format cannot state it: {assumed}\n" in result.stdout


@pytest.mark.slow
def test_inspect_of_very_many_tensors_lists_what_somebody_may_read(tmp_path: Path) -> None:
    layers, path = 3000, tmp_path / "deep.bin"
    with path.open("wb") as file:
        file.write(struct.pack("<7i", 2, 1, layers, 1, 1, 1, 1))
        file.truncate(28 + 4 * (2 + layers * (2 + 2 + 16 + 6) + 2 + 2))
    result = run("inspect", path)
    assert result.returncode == 0
    assert result.stdout.endswith(f"\n{4 + 9 * layers - 2000:,} more tensors: use --json to list them\n")
    assert len(json.loads(run("inspect", path, "--json").stdout)["tensors"]) == 4 + 9 * layers


def test_inspect_of_v3_tells_scaling_provenance_and_digests(tmp_path: Path, source: Path) -> None:
    out = tmp_path / "a v3.bin"
    arguments = ("--format", "v3", "--storage", "q8_0", "--storage", "*.w2.*=fp16", "--group-size", "8")
    assert run("export", source, out, *arguments).returncode == 0
    result = run("inspect", out)
    assert result.returncode == 0
    digest = hashlib.sha256(source.read_bytes()).hexdigest()
    for word in (f"{digest}  {source.name}", "source.kind: llama2c", "all digests correct", "blake3", "fp16"):
        assert word in result.stdout
    assert "assumed" not in result.stdout
    contents = json.loads(run("inspect", out, "--json").stdout)
    assert {t["storage"] for t in contents["tensors"]} == {"fp32", "q8_0", "fp16"}
    assert contents["config"]["rope_scaling"]["type"] == "none"
    damaged = bytearray(out.read_bytes())
    damaged[-100] ^= 4
    out.write_bytes(damaged)
    refused(run("inspect", out), "norm.weight: digest")


def test_release_of_v3_in_any_storage_passes(tmp_path: Path, source: Path) -> None:
    for storage in ("source", "fp16", "bf16", "q8_0"):
        out = tmp_path / f"{storage}.bin"
        result = run(
            "release", source, out, "--format", "v3", "--storage", storage, "--depth", "quick", "--no-provenance"
        )
        assert result.returncode == 0, result.stdout + result.stderr
        with reader_c.open(out, check_digests=True) as model:
            assert model.metadata == {}


def test_a_directory_for_transformers_is_a_source_again(tmp_path: Path, source: Path) -> None:
    out = tmp_path / "for transformers"
    assert run("export", source, out, "--format", "hf").returncode == 0
    assert {path.name for path in out.iterdir()} == {"config.json", "model.safetensors"}
    result = run("verify", out, tmp_path / "v3.bin", "--source-kind", "meta")
    refused(result, "v3.bin")
    assert run("release", out, tmp_path / "v3.bin", "--format", "v3", "--depth", "quick").returncode == 0


def test_no_command_shows_what_there_is() -> None:
    result = run()
    assert result.returncode == 2
    assert "release" in result.stdout


def test_version() -> None:
    assert run("--version").stdout.startswith("export-and-verify ")


def test_print_policy_prints_the_default() -> None:
    result = run("verify", "--print-policy")
    assert result.returncode == 0
    assert "[v2]" in result.stdout


def test_what_is_wrong_is_told_in_one_line(tmp_path: Path, source: Path, good: Path) -> None:
    before = {p: p.read_bytes() for p in (source, good)}
    out = tmp_path / "never.bin"
    empty = tmp_path / "empty.txt"
    empty.write_text("")
    archive = tmp_path / "archive.npz"
    np.savez(archive, a=np.ones((2, 5), int))
    export = ("export", source, out, "--format")
    verify = ("verify", source, good)
    for arguments, words in [
        (("export", tmp_path / "none.pt", out, "--format", "v2"), ("none.pt", "found nothing there")),
        (("export", good, out, "--format", "v2", "--source-kind", "v3"), ("version 3", "version 2")),
        (("export", tmp_path, out, "--format", "v2"), ("config.json or params.json", "found neither")),
        (
            ("export", good, out, "--format", "v2", "--source-kind", "llama2c"),
            ("a checkpoint of torch.save", "version 2"),
        ),
        (("export", good, out, "--format", "v2", "--source-kind", "gguf"), ("--source-kind", "'gguf'")),
        ((*export, "v2", "--storage", "fp16"), ("storage", "v2")),
        ((*export, "v3", "--storage", "fp8"), ("storage", "'fp8'")),
        ((*export, "v3", "--storage", "wq=fp16"), ("storage", "'wq'")),
        ((*export, "v9"), ("format", "'v9'")),
        ((*export, "v2", "--group-size", "0"), ("--group-size", "found 0")),
        ((*export, "v2", "--exact-group-size"), ("group_size", "found 64", "the largest that fits is 8")),
        ((*export, "v2", "--max-seq-len", "99"), ("max_seq_len", "found 99")),
        ((*export, "v2", "--source-kind", "meta"), ("params.json",)),
        (("export", source, tmp_path / "no" / "out", "--format", "v2"), ("expected a directory",)),
        (("export", source, good, "--format", "v2"), ("found a file",)),
        (("export", source, out), ("--format",)),
        (("verify", source, tmp_path / "none.bin"), ("none.bin", "no such file")),
        (("verify", source, source), ("a checkpoint of torch.save", "export it first")),
        (("verify", good, good), ("found the source itself",)),
        (("verify", source, tmp_path), ("expected a Hugging Face directory with a config.json",)),
        ((*verify, "--text", empty), ("tokenizer",)),
        ((*verify, "--text", tmp_path / "none.txt"), ("none.txt",)),
        ((*verify, "--tokens", empty), ("expected an .npy file",)),
        ((*verify, "--windows", "0"), ("windows",)),
        ((*verify, "--length", "1000"), ("length", "found 1000")),
        ((*verify, "--depth", "abyss"), ("depth", "'abyss'")),
        ((*verify, "--seed", "-1"), ("--seed",)),
        ((*verify, "--threads", "0"), ("--threads",)),
        ((*verify, "--threads", "100000"), ("--threads", "256")),
        ((*verify, "--tokens", archive), ("another kind of file",)),
        ((*verify, "--tokenizer", empty), ("tokenizer",)),
        (("export", source, source, "--format", "v2", "--overwrite"), ("found the source itself",)),
        (("release", source, source, "--format", "v2", "--overwrite"), ("found the source itself",)),
        ((*verify, "--policy", empty), ("[v2]",)),
        ((*verify, "--report", good), (str(good),)),
        ((*verify, "--source-kind", "meta"), ("consolidated.00.pth",)),
        ((*verify, "--source-kind", "gguf"), ("--source-kind", "'gguf'")),
        ((*verify, "--no-such-option"), ("--no-such-option",)),
        (("inspect", tmp_path / "none.bin"), ("no such file",)),
        (("judgement",), ("judgement",)),
    ]:
        refused(run(*arguments), *words)
    assert {p: p.read_bytes() for p in (source, good)} == before
    assert not out.exists()


def test_a_read_only_folder_is_told_and_nothing_remains(tmp_path: Path, source: Path) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    folder.chmod(0o555)
    if os.access(folder, os.W_OK):
        # root writes everywhere; /proc takes no files from anyone
        folder = Path("/proc/self")
    for command in ("export", "release"):
        refused(run(command, source, folder / "out.bin", "--format", "v2"), "out.bin", "cannot be written")


def test_tokens_and_lengths_of_ones_own(tmp_path: Path, source: Path, good: Path) -> None:
    tokens = tmp_path / "tokens.npy"
    np.save(tokens, np.random.default_rng(0).integers(0, 29, (3, 20)))
    result = run("verify", source, good, "--tokens", tokens, "--windows", 2, "--length", 9, "--seed", 5, "--json")
    report = json.loads(result.stdout)
    assert report["verdict"] == "pass"
    assert report["metrics"]["positions"] == 3 * 20 + 2 * 9 + 2 * 9
    assert report["metrics"]["perplexity_source"] is not None
    assert report["metrics"]["perplexity_ratio_ci"] is not None


@pytest.mark.slow
def test_the_demo_exports_and_verifies_every_format(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """On less evidence than a user gets, whose full run the wheel's test makes."""
    from verify.evidence.depth import DEPTHS

    monkeypatch.setitem(DEPTHS, "standard", replace(DEPTHS["standard"], windows=2, length=128))
    result = run("demo", "--out", tmp_path / "out")
    assert result.returncode == 0
    for name in (*BIN_FORMATS, "v3-q8_0"):
        assert f"\n{name} " in f"\n{result.stdout}"
        report = json.loads((tmp_path / "out" / f"{name}-report" / "report.json").read_text())
        assert report["verdict"] == "pass"
        assert (tmp_path / "out" / f"{name}.bin").stat().st_size == report["file"]["bytes"]
    assert str(tmp_path / "out") in result.stdout
