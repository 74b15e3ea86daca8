"""What reports print cannot control a terminal, and bars appear only on one."""

from __future__ import annotations

import io

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


def test_without_a_terminal_there_are_no_bars_and_no_lines(capsys: pytest.CaptureFixture[str]) -> None:
    with progress_bar(enabled=True) as bar:
        for done in range(3):
            bar("windows", done, 2)
        bar.tell("a line")
    tell("another", enabled=True)
    assert capsys.readouterr() == ("", "")


def test_a_bar_heeds_an_interrupt(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted() -> None:
        raise Interrupted

    monkeypatch.setattr("verify.report.console.heed", interrupted)
    assert callable(heed)
    with progress_bar(enabled=False) as bar, pytest.raises(Interrupted):
        bar("windows", 0, 1)
