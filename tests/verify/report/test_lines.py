"""Lines and rows at any width: words stay whole on a terminal, and a pipe gets one line a row."""

from __future__ import annotations

import io

import pytest
from helpers.reports import failing, passing
from rich.console import Console

from verify.report.console import plain_table
from verify.report.lines import print_rows, print_table, say
from verify.report.terminal import show_report

SENTENCE = "layer 1 down exceeds its error bound at window 0: expected 1, found 2; 3 later operations are also wrong"
ROWS = [("operations", "fail", SENTENCE), ("execution", "skipped", "one thing")]


def shown(width: int, *, terminal: bool, rows: list[tuple[str, str, str]] = ROWS) -> list[str]:
    out = io.StringIO()
    console = Console(file=out, width=width, force_terminal=terminal, color_system=None, highlight=False)
    print_rows(console, ("check", "status", "detail"), rows)
    return out.getvalue().splitlines()


@pytest.mark.parametrize("width", [30, 40, 60, 80, 120, 160, 300])
def test_words_stay_whole_and_lines_fit(width: int) -> None:
    lines = shown(width, terminal=True)
    assert max(map(len, lines)) <= width
    words = " ".join(lines).split()
    assert words == ["check", "status", *(["detail"] if "detail" in words else []), *words[2 + ("detail" in words) :]]
    assert " ".join(words).count(SENTENCE) == 1


def test_a_pipe_has_one_line_a_row_without_padding() -> None:
    assert shown(40, terminal=False) == [
        "check       status   detail",
        f"operations  fail     {SENTENCE}",
        "execution   skipped  one thing",
    ]


def test_control_characters_of_a_file_s_name_are_escaped() -> None:
    rows = [("file", "fail", "a\x1b[2Kb")]
    for terminal in (False, True):
        assert "\x1b" not in "".join(shown(100, terminal=terminal, rows=rows))
        assert "a\\x1b[2Kb" in "".join(shown(100, terminal=terminal, rows=rows))


def test_a_table_in_a_pipe_is_as_wide_as_it_needs_and_not_padded() -> None:
    out = io.StringIO()
    console = Console(file=out, width=20, force_terminal=False)
    table = plain_table("a", "b")
    table.add_row("x" * 50, "1")
    table.add_row("y", "22")
    print_table(console, table)
    assert out.getvalue().splitlines() == ["a" + " " * 51 + "b", "x" * 50 + "  1", "y" + " " * 51 + "22"]


def test_a_sentence_wraps_on_a_terminal_alone() -> None:
    for terminal, count in ((True, 3), (False, 1)):
        out = io.StringIO()
        say(Console(file=out, width=40, force_terminal=terminal, color_system=None), SENTENCE)
        lines = out.getvalue().splitlines()
        assert (len(lines), " ".join(line.strip() for line in lines)) == (count, SENTENCE)


@pytest.mark.parametrize("width", [40, 60, 80, 100, 120])
@pytest.mark.parametrize("report", [passing(), failing()], ids=["pass", "fail"])
def test_a_whole_report_fits_a_terminal(report: object, width: int) -> None:
    out = io.StringIO()
    console = Console(file=out, width=width, force_terminal=True, color_system=None, highlight=False)
    show_report(console, report)  # type: ignore[arg-type]
    lines = out.getvalue().splitlines()
    # the columns before the sentences need about 60
    assert max(map(len, lines)) <= max(width, 60)
