"""Every rendering says what the report says, in the layout that other people's tools read."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest
import xmlschema
from helpers.reports import REPORTS, failing, replaced

from verify.checks.result import CheckResult
from verify.report import attestation, junit, summary
from verify.report.files import NAMES, render
from verify.report.model import Report

JUNIT_SCHEMA = xmlschema.XMLSchema(Path(__file__).with_name("junit.xsd"))
HOSTILE = "</script><img src=x onerror=alert(1)>|`*_\x00\x1b[31m\ud800&"


@pytest.mark.parametrize("report", REPORTS.values(), ids=REPORTS)
def test_every_file_is_rendered_and_again_to_the_same_bytes(report: Report) -> None:
    files = render(report)
    assert tuple(files) == NAMES
    assert all(files.values())
    assert render(report) == files


def test_names_from_files_are_text_in_every_rendering() -> None:
    report = failing()
    report = dataclasses.replace(
        report,
        file={**report.file, "path": HOSTILE},
        checks=replaced(
            report.checks, CheckResult("tensors", "fail", "exact", 1.0, 0.0, HOSTILE, {"tensor": HOSTILE})
        ),
    )
    JUNIT_SCHEMA.validate(junit.render(report))
    for text in (junit.render(report), summary.render(report).replace("\\<", ""), report.to_html()):
        assert "<img" not in text
    assert json.loads(attestation.render(report))["predicate"]["result"] == "FAILED"
