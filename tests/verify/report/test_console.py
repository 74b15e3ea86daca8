"""What reports print cannot control a terminal, and bars appear only on one; elsewhere lines do."""

from __future__ import annotations

import io
import re

import pytest

from verify.report.console import plain_table, progress_bar, stdout_console, tell
from verify.system.signals import Interrupted, heed


def test_no_text_controls_the_terminal_and_no_row_is_cut(capsys: pytest.CaptureFixture[str]) -> None:
    console = stdout_console()
    table = plain_table("name", "detail")
    table.add_row("\x1b[2Jx", "y" * 120)
    console.print(table)
    said = capsys.readouterr().out
    assert "\x1b" not in said
    assert "y" * 120 in said.splitlines()[1]


def test_a_reader_that_went_away_is_the_command_line_s(monkeypatch: pytest.MonkeyPatch) -> None:
    class Gone(io.StringIO):
        def write(self, _: str) -> int:
            raise BrokenPipeError

    monkeypatch.setattr("sys.stdout", Gone())
    with pytest.raises(BrokenPipeError):
        stdout_console().print("x")


def test_without_a_terminal_there_is_a_line_for_each_stage(capsys: pytest.CaptureFixture[str]) -> None:
    with progress_bar(enabled=True) as bar:
        for done in range(3):
            bar("windows", done, 2)
        bar.tell("a \x1b[2Jline")
        bar("report", 1, 1)
    tell("another", enabled=True)
    said = capsys.readouterr()
    assert said.out == ""
    a_line, of_windows, of_report = said.err.splitlines()
    assert a_line == "a \\x1b[2Jline"
    assert re.fullmatch(r"windows: done in [0-9]+\.[0-9] s", of_windows)
    assert re.fullmatch(r"report: done in [0-9]+\.[0-9] s", of_report)


def test_what_is_refused_has_no_lines_of_progress(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(ValueError, match="refused"), progress_bar(enabled=True) as bar:
        bar("PyTorch", 1, 1)
        bar("source", 0, 1)
        raise ValueError("refused")
    assert capsys.readouterr() == ("", "")


def test_silence_takes_everything_and_writes_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    with progress_bar(enabled=False, verbose=True) as silence:
        silence.plan({"windows": 1.0})
        silence("windows", 1, 1)
        silence.tell("a line")
        assert not silence.announces
    assert capsys.readouterr() == ("", "")


def test_a_log_that_is_closed_stops_no_work(monkeypatch: pytest.MonkeyPatch) -> None:
    class Full(io.StringIO):
        def write(self, _: str) -> int:
            raise OSError(28, "No space left on device")

    monkeypatch.setattr("sys.stderr", Full())
    with progress_bar(enabled=True) as bar:
        bar("windows", 1, 1)
    monkeypatch.setattr("sys.stderr", None)
    with progress_bar(enabled=True) as bar:
        bar("windows", 1, 1)


def test_a_bar_heeds_an_interrupt(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted() -> None:
        raise Interrupted

    monkeypatch.setattr("verify.report.console.heed", interrupted)
    assert callable(heed)
    with progress_bar(enabled=False) as bar, pytest.raises(Interrupted):
        bar("windows", 0, 1)
