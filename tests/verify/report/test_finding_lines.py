"""Failures in plain lines, from the dictionary of a report alone."""

from __future__ import annotations

import subprocess
import sys

from helpers.reports import GUILTY, failing, passing, without_logits

from verify.diagnosis.mistakes import NO_KNOWN_MISTAKE, TABLES_UNKNOWN
from verify.report.finding_lines import finding, headed, likely


def test_a_failure_has_its_detail_and_its_place() -> None:
    checks = {check["name"]: check for check in failing().to_dict()["checks"]}
    assert finding(checks["tensors"]) == (
        f"tensors: {GUILTY} int8 [20, 7]: expected 42, found 82\n"
        f"  at tensor {GUILTY}, index [20, 7], expected 42, found 82"
    )
    skipped = without_logits(passing()).to_dict()["checks"][3]
    assert finding(skipped) == "operations: skipped: the source's norm.weight holds a NaN"


def test_nothing_that_is_said_controls_a_terminal() -> None:
    check = {"name": "file", "status": "fail", "detail": "\x1b[2Jx", "where": {"tensor": None}}
    assert "\x1b" not in finding(check)
    assert "\n" not in finding(check)


def test_the_most_likely_mistake_is_a_line_of_its_own() -> None:
    assert likely(failing().to_dict()) == f"\nmost likely: {GUILTY} holds the right values except int8 [20, 7]"
    assert likely(passing().to_dict()) == ""


def test_a_description_without_a_cause_is_not_called_likely() -> None:
    assert headed(NO_KNOWN_MISTAKE.name, "q holds others") == "cause unknown: q holds others"
    assert TABLES_UNKNOWN.name == NO_KNOWN_MISTAKE.name
    assert headed("swapped", "q holds k's") == "most likely: q holds k's"


def test_it_imports_next_to_nothing() -> None:
    code = "import sys, verify.report.finding_lines; sys.exit(bool({'torch', 'numpy', 'rich'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
