"""What people see while it works: a first line at once, progress by stage, colours unless they are not wanted."""

from __future__ import annotations

import json
import re
from pathlib import Path
from xml.etree import ElementTree

import pytest
from helpers.command_line import run_elsewhere, run_on_terminal_elsewhere

pytestmark = pytest.mark.slow

COLOUR = "\x1b[1;32m"  # of a verdict that is bold and green


def test_the_file_is_named_before_the_work_begins_and_each_stage_has_its_bar(source: Path, good: Path) -> None:
    seen = run_on_terminal_elsewhere("verify", source, good, "--depth", "quick")
    first = seen.splitlines()[0]
    assert first.startswith(f"{good}: v2, ")
    assert " bytes, " in first
    for stage in ("PyTorch", "source", "tensors", "windows", "operations", "storage", "report"):
        assert stage in seen
    assert COLOUR in seen
    # the sentences wrap at words, and where depends on the path
    end = " ".join(" ".join(seen.splitlines()[-8:]).split())
    assert re.search(r"PASS\S* .*: \d of \d checks passed covered: 6 windows, positions 0-.* windows$", end)


def test_no_color_is_respected(source: Path, good: Path) -> None:
    seen = run_on_terminal_elsewhere("verify", source, good, "--depth", "quick", NO_COLOR="1")
    assert "PASS" in seen
    assert "\x1b[1;32m" not in seen
    assert "\x1b[3" not in seen.replace("\x1b[3J", "")


def test_a_file_that_is_not_one_is_refused_before_pytorch_is_imported(source: Path) -> None:
    seen = run_on_terminal_elsewhere("verify", source, source)
    assert seen.startswith("error: ")
    assert len(seen.splitlines()) == 1


def test_quiet_shows_no_bar(source: Path, good: Path) -> None:
    assert run_on_terminal_elsewhere("verify", source, good, "--depth", "quick", "--quiet") == ""


def test_nothing_of_a_terminal_is_in_what_is_piped(source: Path, good: Path) -> None:
    result = run_elsewhere("verify", source, good, "--depth", "quick")
    assert "\x1b" not in result.stdout + result.stderr
    patterns = (
        r"PyTorch: done in S s",
        r"at most [0-9,]+ MiB of memory expected \([0-9]+ windows? at a time in C\); at most [0-9.]+ GB to read, "
        r"less what the system has cached",
        r"predicted: about [0-9]+ s, corrected as the work goes on",
        r"source: done in S s",
        r"tensors: done in S s",
        r"windows: done in S s",
        r"operations: done in S s",
        r"storage: done in S s",
        r"[0-9,]+ MiB of memory taken, [0-9.]+ GB read from disk",
        r"report: done in S s",
    )
    # a slow machine may show signs of life, too
    lines = [line for line in result.stderr.splitlines() if " % after " not in line]
    assert len(lines) == len(patterns)
    for line, pattern in zip(lines, patterns, strict=True):
        assert re.fullmatch(pattern.replace("S s", "[0-9]+\\.[0-9] s"), line), line


def test_verbose_leaves_a_line_for_each_stage_and_puts_times_into_the_report(
    source: Path, good: Path, tmp_path: Path
) -> None:
    out = tmp_path / "report"
    seen = run_on_terminal_elsewhere("verify", source, good, "--depth", "quick", "--verbose", "--report", out)
    stages = ["PyTorch", "source", "tensors", "windows", "operations", "storage", "report"]
    at = [seen.index(f"{stage}: done in ") for stage in stages]
    assert at == sorted(at)
    assert "predicted: about " in seen
    seconds = json.loads((out / "report.json").read_text())["environment"]["seconds"]
    assert list(seconds) == stages
    cases = ElementTree.parse(out / "junit.xml").getroot().iter("testcase")
    times = {case.get("name"): float(case.get("time", "")) for case in cases}
    assert times["operations"] == pytest.approx(seconds["operations"], abs=1e-3)
    assert times["execution"] == pytest.approx(seconds["windows"], abs=1e-3)
    assert times["config"] == 0


def test_without_verbose_the_report_has_no_times(source: Path, good: Path, tmp_path: Path) -> None:
    run_elsewhere("verify", source, good, "--depth", "quick", "--report", tmp_path / "report")
    assert "seconds" not in json.loads((tmp_path / "report" / "report.json").read_text())["environment"]
