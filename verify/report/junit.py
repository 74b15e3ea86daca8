"""junit.xml: one case a check, as CI systems show it."""

from __future__ import annotations

import re
from typing import Any

from verify.checks.result import CheckResult
from verify.report.model import Report

# What XML 1.0 cannot hold, not even escaped.
_NOT_XML = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def render(report: Report) -> str:
    """A check that failed is a failure. One that was skipped is a skipped case where the policy allows it, and else a
    failure: CI systems take skipped cases for passed ones."""
    from junitparser import JUnitXml, TestSuite  # noqa: PLC0415  # only needed here

    suite = TestSuite(_text(f"export-and-verify {report.file['path']}"))
    for name, value in (
        ("verdict", report.verdict),
        ("format", report.file["format"]),
        ("sha256", report.file["sha256"]),
        ("policy", report.policy.path),
    ):
        suite.add_property(name, _text(value))
    suite.add_testcases([_case(check, report) for check in report.checks])
    xml = JUnitXml("export-and-verify")
    xml.add_testsuite(suite)
    suite.update_statistics()
    # and not of skipped ones, for which Jenkins' schema has no place here
    xml.tests, xml.failures, xml.errors = suite.tests, suite.failures, suite.errors
    return f'<?xml version="1.0" encoding="UTF-8"?>\n{xml.tostring().decode()}\n'


def _case(check: CheckResult, report: Report) -> Any:
    from junitparser import Failure, Skipped, TestCase  # noqa: PLC0415  # only needed here

    case = TestCase(check.name, classname=_text(f"export-and-verify.{report.file['format']}"), time=0.0)
    if check in report.blamed:
        how = "skipped: " if check.status == "skipped" else ""
        failure = Failure(_text(how + check.detail), check.bound)
        more = [f"{key}: {value}" for key, value in check.where.items()]
        if report.diagnosis:
            more.append(f"most likely: {report.diagnosis.sentence}")
        failure.text = _text("\n".join([how + check.detail, *more]))
        case.result = [failure]
    elif check.status == "skipped":
        case.result = [Skipped(_text(check.detail))]
    else:
        case.system_out = _text(check.detail)
    return case


def _text(value: object) -> str:
    """Names of files may hold any byte but a zero and a slash."""
    return _NOT_XML.sub("\ufffd", str(value))
