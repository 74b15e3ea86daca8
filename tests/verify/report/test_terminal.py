"""A report on a terminal: the verdict last, and a larger limit suggested only where one may be chosen."""

from __future__ import annotations

import dataclasses
import math

import pytest
from helpers.reports import METRICS, failing, passing, replaced
from rich.console import Console

from verify.checks.result import CheckResult, exact, within
from verify.report.model import Report
from verify.report.terminal import show_formats, show_report


def shown(report: Report) -> list[str]:
    console = Console(width=160, record=True, file=None, quiet=False, highlight=False)
    with console.capture() as capture:
        show_report(console, report)
    return [line.rstrip() for line in capture.get().splitlines()]


def failing_with(check: CheckResult) -> Report:
    return dataclasses.replace(passing(), checks=replaced(passing().checks, check))


COVERED = "covered: 8 windows, positions 0-2 of 33, 20 of 29 token ids (68.9 %), mirror, operations in 2 windows"


def test_the_verdict_comes_last_above_what_it_covered_and_below_the_next_step() -> None:
    lines = shown(failing())
    assert lines[-1] == COVERED
    assert lines[-2].startswith("FAIL model.bin: tensors: ")
    assert lines[-4].startswith("next, tensors: Fix how the exporter writes ")
    assert shown(passing())[-2:] == ["PASS model.bin: 7 of 7 checks passed", COVERED]


def test_a_report_from_before_coverage_ends_with_its_verdict() -> None:
    report = dataclasses.replace(passing(), evidence={k: v for k, v in passing().evidence.items() if k != "coverage"})
    assert shown(report)[-1] == "PASS model.bin: 7 of 7 checks passed"


@pytest.mark.parametrize(
    ("check", "words"),
    [
        (within("execution", "statistical", 25.0, 10.0, "x"), "execution, 2.5 times the current one"),
        (within("execution", "statistical", 10.0001, 10.0, "x"), "execution, 1.00001 times the current one"),
        (within("quantization", "policy", 0.06, 0.03, "x"), "quantization, 2 times the current one"),
    ],
)
def test_the_smallest_limit_that_would_have_passed_is_said(check: CheckResult, words: str) -> None:
    assert f"the smallest limit that would have passed: {words}" in shown(failing_with(check))


@pytest.mark.parametrize(
    "check",
    [
        within("operations", "rigorous", 125.0, 1.0, "x"),
        within("tensors", "rigorous", 1.5, 1.0, "x"),
        exact("file", 3, "x"),
        dataclasses.replace(exact("engine", 3, "x"), limit=1.0),
        within("execution", "statistical", math.inf, 10.0, "x"),
        within("execution", "statistical", math.nan, 10.0, "x"),
    ],
)
def test_no_other_limit_is_suggested_for_what_is_exact_or_proved_or_not_finite(check: CheckResult) -> None:
    assert not [line for line in shown(failing_with(check)) if "smallest limit" in line]


def test_parts_of_a_wrong_logit_are_told_and_99_999_percent_are_not_100() -> None:
    report = failing()
    assert report.closure is not None
    near = dataclasses.replace(report, closure=dataclasses.replace(report.closure, explained=0.99999))
    assert (
        "logit 5 at window 0, position 2 is off by +0.4: layer 1 down +0.39, logits +0.01; "
        "all operations together explain 99.999% of it"
    ) in shown(near)


def test_formats_are_a_line_each() -> None:
    console = Console(width=160, highlight=False)
    with console.capture() as capture:
        without = dataclasses.replace(passing(), metrics=None)
        metrics = dataclasses.replace(METRICS, top1_agreement=0.99999)
        show_formats(console, [("v2", dataclasses.replace(passing(), metrics=metrics)), ("v0", without)], 4000)
    heading, first, second, note = (line.split() for line in capture.get().splitlines())
    assert heading[:3] == ["format", "bytes", "ratio"]
    assert first == ["v2", "1,000", "4.00", "7", "of", "7", "passed", "1.00e-03", "99.999%", "4.00e-01"]
    assert second[-3:] == ["-", "-", "-"]
    assert " ".join(note) == "ratio: bytes of the weights in float32 divided by bytes of the file"
