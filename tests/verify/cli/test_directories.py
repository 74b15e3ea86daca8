"""verify and release of Hugging Face directories on the command line: what appears, what stays, what is said."""

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
from helpers.command_line import refused, refused_late, run
from helpers.hf_targets import COMPANIONS, SOURCES, change_json, make

import exporter.disk.publish
import exporter.formats.huggingface
import verify.release_file
from verify.report.files import NAMES

QUICK = ("--depth", "quick", "--windows", "2")


def names(directory: Path) -> list[str]:
    return sorted(path.name for path in directory.iterdir())


def content(directory: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in directory.iterdir()}


def confused(_: str, weights: np.ndarray, *__: object) -> np.ndarray:
    """A bug of the exporter: q and k keep llama2.c's order of rows."""
    return weights


def release(source: Path, out: Path, *, depth: str, **options: Any) -> verify.release_file.Released:
    return verify.release_file.release(source, out, evidence=verify.Evidence(depth=depth), **options)


@pytest.fixture
def room(tmp_path: Path) -> Path:
    """A directory with a space in its name."""
    made = tmp_path / "a room"
    made.mkdir()
    return made


def test_verify_of_a_directory_ends_with_each_status(room: Path) -> None:
    source, directory = make(room, "llama2c")
    result = run("verify", source, directory, *QUICK, "--report", room / "report")
    assert result.returncode == 0
    assert f"PASS {directory}: 6 of 6 checks passed" in result.stdout
    assert names(room / "report") == sorted(NAMES)
    assert run("judge", room / "report" / "report.json").returncode == 0
    change_json(directory / "config.json", rope_theta=500000.0)
    result = run("verify", source, directory, *QUICK)
    assert result.returncode == 1
    assert f"FAIL {directory}: config: rope_theta: expected 10000.0, found 500000.0" in result.stdout
    (directory / "config.json").unlink()
    refused(
        run("verify", source, directory, "--quiet"), str(directory), "a Hugging Face directory with a config.json"
    )
    refused(run("inspect", directory), str(directory), "expected config.json or params.json in it, found neither")


def test_a_released_directory_has_its_report_and_its_source_s_companions(room: Path) -> None:
    source, out = SOURCES["huggingface"](room), room / "out"
    assert run("release", source, out, "--format", "hf", *QUICK).returncode == 0
    assert names(room) == ["out", "out.report", "source"]
    assert names(room / "out.report") == sorted(NAMES)
    assert {*COMPANIONS, "generation_config.json", "config.json", "model.safetensors"} == set(names(out))
    assert all(content(out)[name] == content(source)[name] for name in (*COMPANIONS, "generation_config.json"))
    report = json.loads((room / "out.report" / "report.json").read_text())
    assert report["file"]["path"] == str(out)
    assert report["file"]["files"] == {name: hashlib.sha256(made).hexdigest() for name, made in content(out).items()}
    # the digest of the directory is what coreutils make of it
    command = "LC_ALL=C sha256sum * | sha256sum"
    found = subprocess.run(command, shell=True, cwd=out, capture_output=True, text=True, check=True).stdout
    assert found.split()[0] == report["file"]["sha256"]


def test_a_release_that_fails_leaves_the_earlier_directory_and_its_report(
    room: Path, source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = room / "out"
    command = ("release", source, out, "--format", "hf", "--overwrite", *QUICK)
    assert run(*command).returncode == 0
    before = content(out), content(room / "out.report")
    with monkeypatch.context() as patch:
        patch.setattr(exporter.formats.huggingface, "in_halves", confused)
        result = run(*command)
    assert result.returncode == 1
    assert f"FAIL {out} (not released): tensors: layers.0.attention.wq.weight" in result.stdout
    assert "never permuted to Hugging Face's half-split order" in result.stdout
    assert (content(out), content(room / "out.report")) == before
    assert names(room) == ["out", "out.rejected", "out.report"]
    assert run(*command).returncode == 0
    assert names(room) == ["out", "out.report"]


def test_a_first_release_that_fails_is_no_directory(
    room: Path, source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(exporter.formats.huggingface, "in_halves", confused)
    assert run("release", source, room / "out", "--format", "hf", *QUICK).returncode == 1
    assert names(room) == ["out.rejected"]


def test_what_cannot_be_released_is_refused_before_anything_is_exported(room: Path, source: Path) -> None:
    out = room / "out"
    command = ("release", source, out, "--format", "hf", *QUICK)
    refused(run(*command, "--report", out / "report"), "expected a place outside", "for the report")
    out.write_text("a file")
    refused(run(*command, "--overwrite"), f"{out}: OUT: expected a directory or nothing, found a file")
    out.unlink()
    out.mkdir()
    (out / "notes.txt").write_text("mine")
    refused(run(*command), f"{out}: OUT: expected nothing there, found a directory")
    refused(run(*command, "--overwrite"), f"{out}: expected an empty directory or one with a config.json")
    hf = SOURCES["huggingface"](room)
    refused(
        run("release", hf, hf, "--format", "hf", "--overwrite", *QUICK), "expected a directory other than the sou"
    )
    assert names(room) == ["out", "source"]
    assert names(out) == ["notes.txt"]


def test_a_directory_of_another_type_than_the_source_is_not_released(
    room: Path, source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its policy may allow what that costs, but nobody requested it."""
    monkeypatch.setattr(exporter.Checkpoint, "dtype", lambda *_: "bf16")
    monkeypatch.setattr(
        exporter.formats.huggingface, "_narrowed", lambda block, stored: block.astype(stored, copy=False)
    )
    result = run("release", source, room / "out", "--format", "hf", *QUICK)
    assert result.returncode == 1
    assert "config: layers.0.attention_norm.weight: storage: expected fp32, found bf16" in result.stdout


@pytest.mark.parametrize("interrupt", [KeyboardInterrupt, OSError])
def test_a_failure_or_an_interrupt_leaves_the_earlier_directory(
    room: Path, source: Path, monkeypatch: pytest.MonkeyPatch, interrupt: type[BaseException]
) -> None:
    out = room / "out"
    command = ("release", source, out, "--format", "hf", "--overwrite", *QUICK)
    assert run(*command).returncode == 0
    before = content(out), content(room / "out.report")

    def fail(*_: object) -> None:
        raise interrupt

    honest = verify.release_file.publish_directory

    def publish(*arguments: Any, **options: Any) -> None:
        """Fail right after the new directory, which is another one, got its name."""
        with monkeypatch.context() as patch:
            patch.setattr(exporter.disk.publish, "sync_names", fail)
            honest(*arguments, **options)

    monkeypatch.setattr(verify.release_file, "publish_directory", publish)
    if interrupt is OSError:
        assert run(*command, "--max-seq-len", 20).returncode == 2
    else:
        options = {"format": "hf", "overwrite": True, "max_seq_len": 20, "depth": "quick"}
        with pytest.raises(KeyboardInterrupt):
            release(source, out, **options)
    assert (content(out), content(room / "out.report")) == before
    assert names(room) == ["out", "out.report"]


def test_a_predecessor_that_cannot_be_removed_is_told_when_everything_has_its_name(
    room: Path, source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = room / "out"
    command = ("release", source, out, "--format", "hf", "--overwrite", *QUICK)
    assert run(*command).returncode == 0
    for path in (room / "out.report").iterdir():
        path.unlink()

    honest = exporter.disk.publish.remove_replaced

    def fail(workspace: Path, target: Path) -> None:
        if target == out:
            raise PermissionError(13, "Permission denied")
        honest(workspace, target)

    monkeypatch.setattr(exporter.disk.publish, "remove_replaced", fail)
    refused_late(run(*command), f"{out}: written, but the directory that stood there", "cannot be removed")
    assert names(room) == ["out", "out.report"]
    assert names(room / "out.report") == sorted(NAMES)


def waits_for_a_lock(process: subprocess.Popen[bytes]) -> bool:
    lines = Path("/proc/locks").read_text(encoding="utf-8").splitlines()
    return any("->" in line and str(process.pid) in line.split() for line in lines)


@pytest.mark.slow
def test_of_two_releases_at_once_the_directory_and_the_report_are_of_the_same(
    room: Path, source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The second comes when the first has its directory in place, and not its report."""
    publish = verify.release_file.publish_directory
    out = room / "out"
    second: list[subprocess.Popen[bytes]] = []

    def paused(*arguments: Any, **options: Any) -> None:
        publish(*arguments, **options)
        command = ("release", source, out, "--format", "hf", *QUICK, "--max-seq-len", "20", "--overwrite", "--quiet")
        second.append(subprocess.Popen([sys.executable, "-m", "verify", *map(str, command)]))
        while second[0].poll() is None and not waits_for_a_lock(second[0]):
            time.sleep(0.01)

    monkeypatch.setattr(verify.release_file, "publish_directory", paused)
    assert run("release", source, out, "--format", "hf", *QUICK).returncode == 0
    assert second[0].wait() == 0
    report = json.loads((room / "out.report" / "report.json").read_text())
    assert report["file"]["files"] == {name: hashlib.sha256(made).hexdigest() for name, made in content(out).items()}
    assert json.loads((out / "config.json").read_text())["max_position_embeddings"] == 20
