"""The command line as a user or a CI job calls it."""

from __future__ import annotations

import contextlib
import io
import os
import re
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from helpers.prepared import run_prepared
from verify.cli import main

Result = subprocess.CompletedProcess[str]

_TERMINAL = {"TERM": "xterm-256color", "COLUMNS": "120"}

# What a run writes to standard error where that is no terminal, once a stage of its plan has ended.
PROGRESS = (
    r"[A-Za-z]+: done in [0-9]+\.[0-9] s",
    r"[A-Za-z]+: [0-9]+ % after .*",
    r"(export: )?at most [0-9,]+ MiB of memory expected( \(.* at a time in C\); at most .*)?",
    r"predicted: about .*, corrected as the work goes on",
    r"[0-9,]+ MiB of memory taken, [0-9.,]+ GB read from disk",
)


def run(*arguments: object) -> Result:
    """The command line in this process: main() and all, but for the interpreter's start."""
    out, err = io.StringIO(), io.StringIO()
    with (
        pytest.MonkeyPatch.context() as patch,
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(err),
        pytest.raises(SystemExit) as stop,
    ):
        patch.setattr(sys, "argv", ["export-and-verify", *map(str, arguments)])
        main()
    return Result(arguments, stop.value.code or 0, out.getvalue(), err.getvalue())


def run_elsewhere(*arguments: object) -> Result:
    """The command line in a process of its own, which has imported PyTorch already."""
    with tempfile.TemporaryDirectory() as directory:
        out, err = Path(directory, "out"), Path(directory, "err")
        status = run_prepared("verify", *arguments, out=out, err=err)
        return Result(arguments, status, out.read_text(encoding="utf-8"), err.read_text(encoding="utf-8"))


def run_process(*arguments: object) -> Result:
    """The command line as it is started, with a new interpreter."""
    command = [sys.executable, "-m", "verify", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def without_progress(stderr: str) -> str:
    """Standard error but for the lines of progress."""
    return "".join(
        line
        for line in stderr.splitlines(keepends=True)
        if not any(re.fullmatch(pattern, line.rstrip("\n")) for pattern in PROGRESS)
    )


def refused(result: Result, *words: str) -> None:
    """One line says why, and nothing else was written."""
    assert result.returncode == 2
    assert result.stdout == ""
    assert result.stderr.startswith("error: ")
    assert len(result.stderr.splitlines()) == 1
    for word in words:
        assert word in result.stderr


def refused_late(result: Result, *words: str) -> None:
    """As refused(), but after some of the work, of which lines of progress tell; the error is the last line."""
    *told, error = result.stderr.splitlines(keepends=True)
    assert told
    assert without_progress("".join(told)) == ""
    refused(Result(result.args, result.returncode, result.stdout, error), *words)


def run_on_terminal(*arguments: object, **environment: str) -> str:
    """Everything that the command line writes to a terminal that it is started from, with a new interpreter."""
    ours, theirs = os.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "verify", *map(str, arguments)],
        stdout=theirs,
        stderr=theirs,
        env={**os.environ, **_TERMINAL, **environment},
    )
    os.close(theirs)
    seen = _all_of(ours)
    process.wait()
    return seen


def run_on_terminal_elsewhere(*arguments: object, **environment: str) -> str:
    """The same by a process that has imported PyTorch already."""
    ours, theirs = os.openpty()
    with pytest.MonkeyPatch.context() as patch, ThreadPoolExecutor(1) as reading:
        for name, value in {**_TERMINAL, **environment}.items():
            patch.setenv(name, value)
        terminal = os.ttyname(theirs)
        seen = reading.submit(_all_of, ours)
        run_prepared("verify", *arguments, out=terminal, err=terminal)
        os.close(theirs)
        return seen.result()


def _all_of(ours: int) -> str:
    """Read a terminal until its other side is closed everywhere."""
    pieces = []
    # the system says that the other side has closed by an error
    with contextlib.suppress(OSError):
        while piece := os.read(ours, 65536):
            pieces.append(piece)
    os.close(ours)
    return b"".join(pieces).decode()
