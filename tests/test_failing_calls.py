"""A system call that fails costs the release or nothing: what stands there is whole, and one line tells."""

from __future__ import annotations

import errno
import os
import re
import stat
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from helpers.command_line import refused, refused_late, run
from helpers.models import checkpoint

import exporter
from verify.report.files import NAMES

pytestmark = pytest.mark.slow

CAMPAIGN = Path(__file__).parent / "campaigns" / "syscalls.py"
QUICK = ("--depth", "quick", "--windows", "1", "--length", "4")


@pytest.mark.parametrize(("command", "share"), [("export v2", 11), ("export hf", 13), ("release v3", 120)])
def test_whichever_call_fails_the_old_or_the_new_stands_there_and_is_told(command: str, share: int) -> None:
    """A share of `make syscalls`."""
    arguments = ("--trial", "--command", command, "--each", str(share), "--error", "EIO", "--error", "EINTR")
    result = subprocess.run(
        [sys.executable, CAMPAIGN, *arguments],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    assert result.returncode == 0, result.stdout + result.stderr
    counts = [
        int(count) for count in re.findall(r"a system call fails, one of \d+: ([\d,]+): .*; 0 wrong", result.stdout)
    ]
    assert len(counts) == 2, result.stdout
    assert min(counts) > 5


def fail_to_sync(monkeypatch: pytest.MonkeyPatch, number: int, *, directories: bool = True) -> None:
    """fsync of every directory, or of every file, fails."""
    fsync = os.fsync

    def failing(descriptor: int) -> None:
        if stat.S_ISDIR(os.fstat(descriptor).st_mode) == directories:
            raise OSError(number, os.strerror(number))
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", failing)


@pytest.mark.parametrize("number", [errno.EINVAL, errno.ENOTSUP])
def test_a_file_system_that_cannot_sync_directories_takes_files_directories_and_reports(
    tmp_path: Path, source: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    fail_to_sync(monkeypatch, number)
    for name in ("v2", "hf"):
        exporter.export(checkpoint(), tmp_path / name, format=name, group_size=8)
    assert run("release", source, tmp_path / "out.bin", "--format", "v3", *QUICK).returncode == 0
    assert {path.name for path in (tmp_path / "out.bin.report").iterdir()} == set(NAMES)


def test_a_name_that_may_not_last_is_told_apart_from_a_file_that_is_not_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out.bin"
    with monkeypatch.context() as patch:
        fail_to_sync(patch, errno.EIO)
        with pytest.raises(exporter.NotLastingError, match=r"out\.bin: written, but a crash .*: input/output error$"):
            exporter.export(checkpoint(), out, format="v0")
    before = out.read_bytes()
    fail_to_sync(monkeypatch, errno.EIO, directories=False)
    with pytest.raises(exporter.WriteError, match=r"out\.bin: cannot be written: input/output error$") as caught:
        exporter.export(checkpoint(seed=1), out, format="v0", overwrite=True)
    assert not isinstance(caught.value, exporter.NotLastingError)
    assert out.read_bytes() == before
    assert [path.name for path in tmp_path.iterdir()] == ["out.bin"]


def test_a_release_whose_name_may_not_last_has_its_own_report_beside_it(
    tmp_path: Path, source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not that of the file before, which is gone."""
    import verify.release_file

    publish = verify.release_file.publish

    def doubtful(*arguments: Any, **options: Any) -> None:
        with monkeypatch.context() as patch:
            fail_to_sync(patch, errno.EIO)
            publish(*arguments, **options)

    out = tmp_path / "out.bin"
    command = ("release", source, out, "--overwrite", *QUICK, "--format")
    assert run(*command, "v0").returncode == 0
    monkeypatch.setattr(verify.release_file, "publish", doubtful)
    refused_late(run(*command, "v2"), "out.bin: written, but a crash")
    for name in ("report.json", "summary.md"):
        assert "v2" in (tmp_path / "out.bin.report" / name).read_text()


def test_a_candidate_that_may_not_last_is_not_told_as_written(
    tmp_path: Path, source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out.bin"
    out.write_bytes(b"the last release")
    fail_to_sync(monkeypatch, errno.EACCES)
    command = ("release", source, out, "--format", "v3", *QUICK, "--overwrite")
    refused(run(*command), f"{out}: cannot be written: permission denied")
    assert out.read_bytes() == b"the last release"


def test_a_report_that_gets_no_name_after_its_file_is_told(
    tmp_path: Path, source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    replace = Path.replace

    def failing(path: Path, to: Path) -> Path:
        if to.name == NAMES[-1]:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        return replace(path, to)

    monkeypatch.setattr(Path, "replace", failing)
    out = tmp_path / "out.bin"
    refused_late(
        run("release", source, out, "--format", "v2", *QUICK, "--overwrite"),
        f"{out}: written, but not all of its report: {out}.report: cannot be written: input/output error",
    )
    assert out.exists()


def test_a_report_that_cannot_be_written_says_where(
    tmp_path: Path, source: Path, good: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fail_to_sync(monkeypatch, errno.ENOSPC, directories=False)
    report = tmp_path / "a report"
    result = run("verify", source, good, *QUICK, "--report", report)
    refused_late(result, f"{report}: cannot be written: no space left on device")
    assert not report.exists()


def test_a_rejected_report_that_cannot_be_removed_is_told_beside_the_file(tmp_path: Path, source: Path) -> None:
    out = tmp_path / "out.bin"
    (tmp_path / "out.bin.rejected" / "report.json").mkdir(parents=True)
    refused_late(run("release", source, out, "--format", "v2", *QUICK), f"{out}: written, but {out}.rejected")
    assert {path.name for path in (tmp_path / "out.bin.report").iterdir()} == set(NAMES)
