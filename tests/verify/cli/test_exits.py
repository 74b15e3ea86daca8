"""How a command ends: interrupted, without a reader, in a panic; and what of others' words a terminal gets."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from helpers.command_line import run, without_progress
from helpers.reports import LIMITING_POLICY
from helpers.v3_files import patched

from verify.demo import CHECKPOINT
from verify.report.files import NAMES

pytestmark = pytest.mark.slow


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
    import verify.release_file

    judge = verify.release_file.verify

    def interrupted(*arguments: Any, **options: Any) -> Any:
        report = judge(*arguments, **options)
        lost(number)
        return report

    monkeypatch.setattr(verify.release_file, "verify", interrupted)
    out = tmp_path / "out.bin"
    out.write_bytes(b"the last release")
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        result = run("release", source, out, "--format", "v2", "--depth", "quick", "--overwrite", "--quiet")
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
    import verify.release_file

    publish = verify.release_file.publish

    def interrupted(*arguments: Any, **options: Any) -> None:
        publish(*arguments, **options)
        signal.raise_signal(number)

    monkeypatch.setattr(verify.release_file, "publish", interrupted)
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
    assert (result.returncode, without_progress(result.stderr)) == (1, "")


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
    strict.write_text(re.sub(r"(?m)^kl_mean = .*", "kl_mean = 0", LIMITING_POLICY.read_text()))
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
import sys, verify.inspect_file
class PanicException(BaseException): pass
def panic(path): raise PanicException("of a library in Rust")
verify.inspect_file.inspect_file = panic
sys.argv = ["export-and-verify", "inspect", {str(good)!r}]
from verify.cli import main
main()
"""
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (result.returncode, result.stdout) == (70, "")


def test_what_others_wrote_is_shown_and_not_obeyed(tmp_path: Path, source: Path) -> None:
    """On a terminal it would erase the verdict and put another in its place."""
    out, attack = tmp_path / "m.bin", "\x1b[2K\x1b[1G\x1b[1mPASS m.bin: 7 of 7 checks passed\x1b[8m"
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
