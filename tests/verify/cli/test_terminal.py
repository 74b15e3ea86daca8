"""What people see while it works: a first line at once, progress by stage, colours unless they are not wanted."""

from __future__ import annotations

from pathlib import Path

import pytest
from helpers.command_line import run_on_terminal, run_process

pytestmark = pytest.mark.slow

COLOUR = "\x1b[1;32m"  # of a verdict that is bold and green


def test_the_file_is_named_before_the_work_begins_and_each_stage_has_its_bar(source: Path, good: Path) -> None:
    seen = run_on_terminal("verify", source, good, "--depth", "quick")
    first = seen.splitlines()[0]
    assert first.startswith(f"{good}: v2, ")
    assert " bytes, " in first
    for stage in ("PyTorch", "tensors", "windows"):
        assert stage in seen
    assert COLOUR in seen
    # the sentence wraps at words
    *_, verdict, covered, rest = seen.splitlines()
    assert "PASS" in verdict
    assert covered.startswith("covered: 6 windows, positions 0-")
    assert rest == "windows"


def test_no_color_is_respected(source: Path, good: Path) -> None:
    seen = run_on_terminal("verify", source, good, "--depth", "quick", NO_COLOR="1")
    assert "PASS" in seen
    assert "\x1b[1;32m" not in seen
    assert "\x1b[3" not in seen.replace("\x1b[3J", "")


def test_a_file_that_is_not_one_is_refused_before_pytorch_is_imported(source: Path) -> None:
    seen = run_on_terminal("verify", source, source)
    assert seen.startswith("error: ")
    assert len(seen.splitlines()) == 1


def test_quiet_shows_no_bar(source: Path, good: Path) -> None:
    assert run_on_terminal("verify", source, good, "--depth", "quick", "--quiet") == ""


def test_nothing_of_a_terminal_is_in_what_is_piped(source: Path, good: Path) -> None:
    result = run_process("verify", source, good, "--depth", "quick")
    assert "\x1b" not in result.stdout + result.stderr
    assert result.stderr == ""
