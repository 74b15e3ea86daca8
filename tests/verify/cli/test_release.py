"""release, judge and baselines on the command line: what appears, what stays, what is said."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers.command_line import refused, refused_late, run, run_process
from helpers.reports import LIMITING_POLICY

import exporter.payload
import reader_c
from verify.demo import CHECKPOINT
from verify.report.files import NAMES

QUICK = ("--depth", "quick")
GUILTY = "layers.1.feed_forward.w2.weight"


def names(directory: Path) -> list[str]:
    return sorted(path.name for path in directory.iterdir())


def strict_policy(directory: Path) -> Path:
    """Nothing quantized passes."""
    path = directory / "strict.toml"
    path.write_text(LIMITING_POLICY.read_text().replace("kl_mean = 0.03", "kl_mean = 1e-12"))
    return path


@pytest.mark.slow
def test_release_of_the_bundled_checkpoint_leaves_the_file_and_its_report(tmp_path: Path) -> None:
    out = tmp_path / "out.bin"
    result = run_process("release", CHECKPOINT, out, "--format", "v2", *QUICK)
    assert result.returncode == 0
    assert "group size 64 does not divide every row of this model; 32 is used" in result.stderr
    with reader_c.open(out) as model:
        assert model.format == "v2"
    assert names(tmp_path) == ["out.bin", "out.bin.report"]
    assert names(tmp_path / "out.bin.report") == sorted(NAMES)
    report = json.loads((tmp_path / "out.bin.report" / "report.json").read_text())
    assert report["file"]["path"] == str(out)
    assert f"report: {out}.report/report.html" in result.stdout


def test_a_release_that_fails_leaves_the_earlier_file_and_its_report(tmp_path: Path, source: Path) -> None:
    out, policy = tmp_path / "out.bin", strict_policy(tmp_path)
    command = ("release", source, out, "--format", "v2", "--overwrite", *QUICK)
    assert run(*command).returncode == 0
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    result = run(*command, "--policy", policy)
    assert result.returncode == 1
    assert "quantization" in result.stdout
    assert "(not released)" in result.stdout
    assert {path: path.read_bytes() for path in before} == before
    assert names(tmp_path) == sorted(["a source", "out.bin", "out.bin.rejected", "out.bin.report", "strict.toml"])
    assert json.loads((tmp_path / "out.bin.rejected" / "report.json").read_text())["verdict"] == "fail"
    assert run(*command).returncode == 0
    assert "out.bin.rejected" not in names(tmp_path)


def test_somebody_s_own_file_beside_a_rejected_report_stays(tmp_path: Path, source: Path) -> None:
    own = tmp_path / "out.bin.rejected" / "notes.txt"
    own.parent.mkdir()
    own.write_text("why")
    assert run("release", source, tmp_path / "out.bin", "--format", "v2", *QUICK).returncode == 0
    assert own.read_text() == "why"


def test_a_first_release_that_fails_is_no_file(tmp_path: Path, source: Path) -> None:
    out, policy = tmp_path / "new.bin", strict_policy(tmp_path)
    assert run("release", source, out, "--format", "v2", *QUICK, "--policy", policy).returncode == 1
    assert names(tmp_path) == ["a source", "new.bin.rejected", "strict.toml"]


def test_a_bug_of_the_exporter_is_named_and_nothing_is_released(
    tmp_path: Path, source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two rows of one tensor change places on their way into the file."""
    honest = exporter.payload.PayloadWriter.load

    def confused(self: object, name: str) -> object:
        weights = honest(self, name)  # type: ignore[arg-type]
        return weights[::-1].copy() if name == GUILTY else weights

    monkeypatch.setattr(exporter.payload.PayloadWriter, "load", confused)
    out, report = tmp_path / "out.bin", tmp_path / "report"
    result = run("release", source, out, "--format", "v3", *QUICK, "--report", report)
    assert result.returncode == 1
    assert GUILTY in result.stdout
    assert not out.exists()
    assert names(tmp_path) == ["a source", "report"]
    for name in NAMES:
        assert GUILTY in (report / name).read_text().replace("\\", "") or name == "attestation.json"


@pytest.mark.parametrize("name", NAMES)
def test_a_release_whose_report_cannot_be_written_is_none(tmp_path: Path, source: Path, name: str) -> None:
    out, report = tmp_path / "out.bin", tmp_path / "report"
    (report / name).mkdir(parents=True)
    result = run("release", source, out, "--format", "v0", *QUICK, "--report", report)
    refused_late(result, f"report/{name}", "directory")
    assert not out.exists()
    assert names(report) == [name]


def test_a_release_that_is_worse_than_its_baseline_fails_and_says_by_how_much(tmp_path: Path, source: Path) -> None:
    out, last = tmp_path / "out.bin", tmp_path / "last"
    command = ("release", source, out, "--format", "v3", *QUICK, "--overwrite")
    assert run(*command, "--report", last).returncode == 0
    released = out.read_bytes()
    result = run(*command, "--storage", "q8_0", "--baseline", last / "report.json")
    assert result.returncode == 1
    assert "baseline: kl_mean on 4 windows of random: found" in result.stdout
    assert "worse than the baseline's" in result.stdout
    assert out.read_bytes() == released
    again = run(*command, "--baseline", last / "report.json")
    assert again.returncode == 0
    assert "none of 3 figures is worse than chance explains" in again.stdout


def test_a_baseline_of_other_windows_is_refused_at_once(tmp_path: Path, source: Path, good: Path) -> None:
    assert run("verify", source, good, *QUICK, "--report", tmp_path / "last").returncode == 0
    last = tmp_path / "last" / "report.json"
    for options, words in (
        (("--seed", "1"), ("windows: expected the same tokens as today's", "2 of them the same")),
        (("--windows", "1"), ("windows: expected at least 2 of one origin",)),
    ):
        refused(run("verify", source, good, *QUICK, *options, "--baseline", last), str(last), *words)


def test_judge_applies_another_policy_without_the_model(tmp_path: Path, source: Path, good: Path) -> None:
    assert run("verify", source, good, *QUICK, "--report", tmp_path / "r").returncode == 0
    saved, policy = tmp_path / "r" / "report.json", strict_policy(tmp_path)
    source.unlink()
    good.unlink()
    same = run("judge", saved, "--json")
    assert (same.returncode, same.stderr) == (0, "")
    again, before = json.loads(same.stdout), json.loads(saved.read_text())
    digest = hashlib.sha256(saved.read_bytes()).hexdigest()
    assert again.pop("judged_again") == {"file": "as reported", "report_sha256": digest, "public_key_sha256": None}
    assert before.pop("judged_again") is None
    assert again.pop("digest") != before.pop("digest")
    assert again == before
    result = run("judge", saved, "--policy", policy, "--report", tmp_path / "again")
    assert result.returncode == 1
    assert "quantization: kl_mean by float32 activations: limit 1e-12, found" in result.stdout
    assert json.loads((tmp_path / "again" / "report.json").read_text())["policy"]["path"] == str(policy)


def test_judge_refuses_what_it_cannot_judge(tmp_path: Path, source: Path, good: Path) -> None:
    refused(run("judge", tmp_path / "none.json"), "none.json", "no such file")
    refused(run("judge", good), str(good), "expected a report.json")
    assert run("verify", source, good, *QUICK, "--report", tmp_path / "r").returncode == 0
    saved = tmp_path / "r" / "report.json"
    saved.write_text(saved.read_text().replace('"observed": 0.0', '"observed": 1e-300'))
    refused(run("judge", saved), "digest: expected", "the report was changed")
    refused(run("judge", saved, "--policy", tmp_path / "none.toml"), "report")


def test_the_same_evidence_gives_the_same_report_to_the_byte(tmp_path: Path, source: Path, good: Path) -> None:
    tokens = tmp_path / "tokens.npy"
    np.save(tokens, np.arange(20).reshape(2, 10))
    one = run("verify", source, good, *QUICK, "--tokens", tokens, "--json")
    two = run("verify", source, good, *QUICK, "--tokens", tokens, "--json")
    assert one.stdout == two.stdout


def waits_for_a_lock(process: subprocess.Popen[bytes]) -> bool:
    lines = Path("/proc/locks").read_text(encoding="utf-8").splitlines()
    return any("->" in line and str(process.pid) in line.split() for line in lines)


@pytest.mark.slow
def test_of_two_releases_at_once_the_file_and_the_report_are_of_the_same(
    tmp_path: Path, source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The second comes when the first has its file in place, and not its report."""
    import verify.release_file

    publish = verify.release_file.publish
    out = tmp_path / "out.bin"
    second: list[subprocess.Popen[bytes]] = []

    def paused(*arguments: Any, **options: Any) -> None:
        publish(*arguments, **options)
        command = ("release", source, out, "--format", "v0", *QUICK, "--overwrite", "--quiet")
        second.append(subprocess.Popen([sys.executable, "-m", "verify", *map(str, command)]))
        while second[0].poll() is None and not waits_for_a_lock(second[0]):
            time.sleep(0.01)

    monkeypatch.setattr(verify.release_file, "publish", paused)
    assert run("release", source, out, "--format", "v2", *QUICK).returncode == 0
    assert second[0].wait() == 0
    report = json.loads((tmp_path / "out.bin.report" / "report.json").read_text())
    assert report["file"]["sha256"] == hashlib.sha256(out.read_bytes()).hexdigest()
    assert report["file"]["format"] == "v0"
    assert names(tmp_path) == ["a source", "out.bin", "out.bin.report"]
