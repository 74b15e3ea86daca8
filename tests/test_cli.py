"""The command line as a user or a CI job meets it: statuses, one-line errors, nothing changed on a refusal."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import signal
import struct
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers.command_line import refused, run, run_process
from helpers.models import BIN_FORMATS
from helpers.v3_files import patched

import reader_c
from verify.cli import main
from verify.demo import CHECKPOINT
from verify.report.files import NAMES


@pytest.mark.parametrize("command", [(), ("demo",), ("export",), ("verify",), ("release",), ("judge",), ("inspect",)])
def test_every_command_has_help_with_an_example_and_loads_no_torch(command: tuple[str, ...]) -> None:
    result = run_process(*command, "--help")
    assert result.returncode == 0
    assert "Example: export-and-verify" in result.stdout or not command
    code = f"""
import sys
sys.argv = ["export-and-verify", *{command!r}, "--help"]
from verify.cli import main
try:
    main()
except SystemExit as stop:
    assert stop.code == 0
assert not {{"torch", "scipy", "numpy"}} & sys.modules.keys()
"""
    assert subprocess.run([sys.executable, "-c", code], check=False, capture_output=True).returncode == 0


def test_export_says_what_it_wrote_and_what_it_changed(tmp_path: Path, source: Path) -> None:
    out = tmp_path / "out.bin"
    result = run("export", source, out, "--format", "v1")
    assert result.returncode == 0
    assert f"{out.stat().st_size:,} bytes" in result.stdout
    assert result.stderr == "note: v1: group size 64 does not divide every row of this model; 8 is used\n"


def test_verify_passes_a_healthy_file_and_writes_the_report(tmp_path: Path, source: Path, good: Path) -> None:
    result = run("verify", source, good, "--depth", "quick", "--report", tmp_path / "the report")
    assert result.returncode == 0
    assert result.stderr == ""
    assert "PASS" in result.stdout
    assert sorted(path.name for path in (tmp_path / "the report").iterdir()) == sorted(NAMES)
    report = json.loads((tmp_path / "the report" / "report.json").read_text())
    assert report["verdict"] == "pass"
    assert report["file"]["path"] == str(good)


def test_json_is_all_there_is_on_standard_output(source: Path, good: Path) -> None:
    result = run_process("verify", source, good, "--depth", "quick", "--json", "--threads", 1)
    assert result.returncode == 0
    assert result.stderr == ""
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
    import verify.inspect

    def broken(_path: Path) -> None:
        raise RuntimeError("a bug")

    monkeypatch.setattr(verify.inspect, "inspect_file", broken)
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


def test_inspect_of_very_many_tensors_lists_what_somebody_may_read(tmp_path: Path) -> None:
    layers, path = 3000, tmp_path / "deep.bin"
    with path.open("wb") as file:
        file.write(struct.pack("<7i", 2, 1, layers, 1, 1, 1, 1))
        file.truncate(28 + 4 * (2 + layers * (2 + 2 + 16 + 6) + 2 + 2))
    result = run("inspect", path)
    assert result.returncode == 0
    assert result.stdout.endswith(f"and {4 + 9 * layers - 2000:,} more tensors, which --json lists\n")
    assert len(json.loads(run("inspect", path, "--json").stdout)["tensors"]) == 4 + 9 * layers


def test_inspect_of_v3_tells_scaling_provenance_and_digests(tmp_path: Path, source: Path) -> None:
    out = tmp_path / "a v3.bin"
    arguments = ("--format", "v3", "--storage", "q8_0", "--storage", "output.*=fp16", "--group-size", "8")
    assert run("export", source, out, *arguments).returncode == 0
    result = run("inspect", out)
    assert result.returncode == 0
    digest = hashlib.sha256(source.read_bytes()).hexdigest()
    for word in (f"{digest}  {source.name}", "source.kind: llama2c", "every digest is right", "blake3", "fp16"):
        assert word in result.stdout
    assert "assumed" not in result.stdout
    contents = json.loads(run("inspect", out, "--json").stdout)
    assert {t["storage"] for t in contents["tensors"]} == {"fp32", "q8_0", "fp16"}
    assert contents["config"]["rope_scaling"]["type"] == "none"
    damaged = bytearray(out.read_bytes())
    damaged[-100] ^= 4
    out.write_bytes(damaged)
    refused(run("inspect", out), "output.weight: digest")


def test_release_of_v3_in_any_storage_passes(tmp_path: Path, source: Path) -> None:
    for storage in ("source", "fp16", "bf16", "q8_0"):
        out = tmp_path / f"{storage}.bin"
        result = run(
            "release", source, out, "--format", "v3", "--storage", storage, "--depth", "quick", "--no-provenance"
        )
        assert result.returncode == 0, result.stdout + result.stderr
        with reader_c.open(out, check_digests=True) as model:
            assert model.metadata == {}


def test_a_directory_for_transformers_is_exported_and_not_released(tmp_path: Path, source: Path) -> None:
    out = tmp_path / "for transformers"
    assert run("export", source, out, "--format", "hf").returncode == 0
    assert {path.name for path in out.iterdir()} == {"config.json", "model.safetensors"}
    refused(run("release", source, tmp_path / "other", "--format", "hf"), "found hf")
    assert not (tmp_path / "other").exists()
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
        (("export", good, out, "--format", "v2"), ("version at 4", "found 2")),
        (("export", tmp_path, out, "--format", "v2"), ("params.json or config.json", "found neither")),
        (("export", good, out, "--format", "v2", "--source-kind", "llama2c"), ("torch.save's zip format",)),
        (("export", good, out, "--format", "v2", "--source-kind", "gguf"), ("source kind", "'gguf'")),
        ((*export, "v2", "--storage", "fp16"), ("storage", "v2")),
        ((*export, "v3", "--storage", "fp8"), ("storage", "'fp8'")),
        ((*export, "v3", "--storage", "wq=fp16"), ("storage", "'wq'")),
        ((*export, "v9"), ("format", "'v9'")),
        ((*export, "v2", "--group-size", "0"), ("group_size", "0")),
        ((*export, "v2", "--exact-group-size"), ("group_size", "found 64", "one: 8")),
        ((*export, "v2", "--max-seq-len", "99"), ("max_seq_len", "found 99")),
        ((*export, "v2", "--source-kind", "meta"), ("params.json",)),
        (("export", source, tmp_path / "no" / "out", "--format", "v2"), ("expected a directory",)),
        (("export", source, good, "--format", "v2"), ("found a file",)),
        (("export", source, out), ("--format",)),
        (("verify", source, tmp_path / "none.bin"), ("none.bin", "no such file")),
        (("verify", source, source), ("zip archive",)),
        (("verify", good, good), ("expected a source that says everything, found v2",)),
        (("verify", source, tmp_path), ("is a directory",)),
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
        ((*verify, "--source-kind", "gguf"), ("source kind", "'gguf'")),
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


@pytest.mark.parametrize(
    ("number", "status", "said"),
    [(signal.SIGINT, 130, "error: interrupted\n"), (signal.SIGTERM, 128 + signal.SIGTERM, "")],
)
def test_a_signal_ends_it_and_leaves_nothing(tmp_path: Path, number: int, status: int, said: str) -> None:
    out = tmp_path / "out.bin"
    command = [
        sys.executable,
        "-m",
        "verify",
        "release",
        str(CHECKPOINT),
        str(out),
        "--format",
        "v0",
        "--depth",
        "full",
    ]
    process = subprocess.Popen(
        command,
        stderr=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        # a test run in the background ignores SIGINT, and so would what it starts
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # noqa: PLW1509  # takes no lock
    )
    # once the candidate stands whole in its own directory, judging it has begun
    while not list(tmp_path.glob(".*.partial/out.bin")):
        assert process.poll() is None
        time.sleep(0.05)
    process.send_signal(number)
    stdout, stderr = process.communicate()
    assert (process.returncode, stdout, stderr) == (status, "", said)
    assert not list(tmp_path.iterdir())


class Signalling:
    """Gets the process a signal in its destructor, where Python drops what the handler raises."""

    def __init__(self, number: int) -> None:
        self.number = number

    def __del__(self) -> None:
        signal.raise_signal(self.number)


def in_destructor(number: int) -> None:
    Signalling(number)


def in_import(number: int) -> None:
    try:
        signal.raise_signal(number)
    except BaseException as error:
        raise ImportError("initialization failed") from error


@pytest.mark.parametrize(
    ("number", "status", "said"), [(signal.SIGINT, 130, "error: interrupted\n"), (signal.SIGTERM, 143, "")]
)
@pytest.mark.parametrize("lost", [in_destructor, in_import])
def test_an_interrupt_that_gets_lost_is_heeded_before_anything_appears(
    tmp_path: Path,
    source: Path,
    monkeypatch: pytest.MonkeyPatch,
    lost: Callable[[int], None],
    number: int,
    status: int,
    said: str,
) -> None:
    import verify.release

    judge = verify.release.verify

    def interrupted(*arguments: Any, **options: Any) -> Any:
        report = judge(*arguments, **options)
        lost(number)
        return report

    monkeypatch.setattr(verify.release, "verify", interrupted)
    out = tmp_path / "out.bin"
    out.write_bytes(b"the last release")
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        result = run("release", source, out, "--format", "v2", "--depth", "quick", "--overwrite")
    finally:
        signal.signal(signal.SIGINT, before)
    assert (result.returncode, result.stdout) == (status, "")
    assert result.stderr.endswith(said)
    assert len(result.stderr.splitlines()) == len(said.splitlines())
    assert out.read_bytes() == b"the last release"
    assert {p.name for p in tmp_path.iterdir()} == {"out.bin", "a source"}


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_an_interrupt_between_the_file_and_its_report_waits_for_both(
    tmp_path: Path, source: Path, monkeypatch: pytest.MonkeyPatch, number: int, status: int
) -> None:
    import verify.release
    from verify.report.files import NAMES

    publish = verify.release.publish

    def interrupted(*arguments: Any, **options: Any) -> None:
        publish(*arguments, **options)
        signal.raise_signal(number)

    monkeypatch.setattr(verify.release, "publish", interrupted)
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        result = run("release", source, tmp_path / "out.bin", "--format", "v0", "--depth", "quick")
    finally:
        signal.signal(signal.SIGINT, before)
    assert result.returncode == status
    assert {p.name for p in tmp_path.iterdir()} == {"out.bin", "out.bin.report", "a source"}
    assert {p.name for p in (tmp_path / "out.bin.report").iterdir()} == set(NAMES)


def test_a_signal_within_an_exec_ends_with_its_own_status(tmp_path: Path) -> None:
    """Where a KeyboardInterrupt passes an exec, `python -m` ends by SIGINT, whatever status was asked for."""
    (tmp_path / "within.py").write_text(
        "import sys, exporter\n"
        "from verify.cli import main\n"
        "exporter.open_checkpoint = lambda *_, **__: exec('import signal; signal.raise_signal(signal.SIGTERM)')\n"
        "sys.argv = ['export-and-verify', 'export', 'a', 'b', '--format', 'v2']\n"
        "main()\n"
    )
    result = subprocess.run(
        [sys.executable, "-m", "within"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (result.returncode, result.stdout, result.stderr) == (143, "", "")


def test_a_reader_that_goes_away_is_no_error(good: Path) -> None:
    code = f"{sys.executable} -m verify inspect '{good}' | head -1"
    result = subprocess.run(["bash", "-o", "pipefail", "-c", code], capture_output=True, text=True, check=False)
    assert result.returncode == 0
    assert result.stderr == ""


@pytest.mark.parametrize("output", ["", "--json"])
def test_a_reader_that_goes_away_does_not_change_the_verdict(source: Path, good: Path, output: str) -> None:
    content = bytearray(good.read_bytes())
    content[-1] ^= 1
    good.write_bytes(content)
    code = f"{sys.executable} -u -m verify verify '{source}' '{good}' --depth quick {output} | head -c 0"
    result = subprocess.run(["bash", "-o", "pipefail", "-c", code], capture_output=True, text=True, check=False)
    assert (result.returncode, result.stderr) == (1, "")


@pytest.mark.parametrize(
    ("arguments", "status"),
    [
        (("release", "{source}", "{out}", "--format", "v2", "--policy", "{strict}", "--depth", "quick"), 1),
        (("verify", "nothing", "nothing"), 2),
        (("export", "{source}", "{out}", "--format", "v2"), 0),
    ],
)
def test_nobody_at_standard_error_does_not_change_the_status(
    tmp_path: Path, source: Path, arguments: tuple[str, ...], status: int
) -> None:
    """Groups are backed off, which is told there."""
    strict = tmp_path / "strict.toml"
    strict.write_text(re.sub(r"(?m)^kl_mean = .*", "kl_mean = 0", run("verify", "--print-policy").stdout))
    named = [each.format(source=source, out=tmp_path / "m.bin", strict=strict) for each in arguments]
    reading, writing = os.pipe()
    os.close(reading)
    command = [sys.executable, "-m", "verify", *named]
    result = subprocess.run(command, stdout=subprocess.PIPE, stderr=writing, check=False)
    os.close(writing)
    assert result.returncode == status
    assert (tmp_path / "m.bin").exists() == (status == 0)


def test_a_panic_of_a_library_is_no_verdict(good: Path) -> None:
    code = f"""
import sys, verify.inspect
class PanicException(BaseException): pass
def panic(path): raise PanicException("of a library in Rust")
verify.inspect.inspect_file = panic
sys.argv = ["export-and-verify", "inspect", {str(good)!r}]
from verify.cli import main
main()
"""
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (result.returncode, result.stdout) == (70, "")


def test_what_others_wrote_is_shown_and_not_obeyed(tmp_path: Path, source: Path) -> None:
    """On a terminal it would erase the verdict and put another in its place."""
    out, attack = tmp_path / "m.bin", "\x1b[2K\x1b[1G\x1b[1mPASS m.bin: 6 of 6 checks passed\x1b[8m"
    plain = source.with_name("p" * len(attack))
    shutil.copy(source, plain)
    assert run("export", plain, out, "--format", "v3", "--source-kind", "llama2c").returncode == 0
    content = out.read_bytes()
    out.write_bytes(patched(content, (content.index(plain.name.encode()), attack.encode())))
    judged = run("verify", source, out, "--depth", "quick")
    unjudged = run("verify", tmp_path / attack, out)
    for result, status in ((judged, 1), (unjudged, 2)):
        said = result.stdout + result.stderr
        assert result.returncode == status
        assert "\x1b" not in said
        assert "\\x1b[2K" in said


def test_tokens_and_lengths_of_ones_own(tmp_path: Path, source: Path, good: Path) -> None:
    tokens = tmp_path / "tokens.npy"
    np.save(tokens, np.random.default_rng(0).integers(0, 29, (3, 20)))
    result = run("verify", source, good, "--tokens", tokens, "--windows", 2, "--length", 9, "--seed", 5, "--json")
    report = json.loads(result.stdout)
    assert report["verdict"] == "pass"
    assert report["metrics"]["positions"] == 3 * 20 + 2 * 9 + 2 * 9
    assert report["metrics"]["perplexity_source"] is not None
    assert report["metrics"]["perplexity_ratio_ci"] is not None


def test_the_demo_exports_and_verifies_every_format(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """On less evidence than a user gets, whose full run the wheel's test makes."""
    import verify.evidence

    monkeypatch.setitem(verify.evidence.DEPTHS, "standard", (2, 128))
    result = run("demo", "--out", tmp_path / "out")
    assert result.returncode == 0
    for name in (*BIN_FORMATS, "v3-q8_0"):
        assert f"\n{name} " in f"\n{result.stdout}"
        report = json.loads((tmp_path / "out" / f"{name}-report" / "report.json").read_text())
        assert report["verdict"] == "pass"
        assert (tmp_path / "out" / f"{name}.bin").stat().st_size == report["file"]["bytes"]
    assert str(tmp_path / "out") in result.stdout
