"""Render junit.xml: one test case for each check, for CI systems."""

from __future__ import annotations

import re
from typing import Any

from verify.checks.result import CheckResult
from verify.report.finding_lines import headed
from verify.report.findings import Findings

# Characters that XML 1.0 cannot hold, not even escaped.
_NOT_XML = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")

# The stage in which a check does its work. Checks that share a stage with one of these count as 0 s.
_STAGES = {
    "tokenizer": "tokenizer",
    "tensors": "tensors",
    "execution": "windows",
    "operations": "operations",
    "storage": "storage",
}


def render(findings: Findings) -> str:
    """Return junit.xml. A failed check is a failure, and so is a skipped check unless the policy allows it.

    CI systems count skipped cases as passed.
    """
    from junitparser import JUnitXml, TestSuite  # noqa: PLC0415  # only needed here

    suite = TestSuite(_text(f"export-and-verify {findings.file['path']}"))
    covered = findings.coverage
    for name, value in (
        ("verdict", findings.verdict),
        ("reason", findings.reason),
        ("format", findings.file["format"]),
        ("sha256", findings.file["sha256"]),
        ("policy", findings.policy.path),
        *([("file", "as reported")] if findings.as_reported else []),
        *([] if covered is None else [("covered", covered.sentence().removeprefix("covered: "))]),
    ):
        suite.add_property(name, _text(value))
    suite.add_testcases([_case(check, findings) for check in findings.checks])
    xml = JUnitXml("export-and-verify")
    xml.add_testsuite(suite)
    suite.update_statistics()
    # without the number of skipped cases, which Jenkins' schema does not allow here
    xml.tests, xml.failures, xml.errors = suite.tests, suite.failures, suite.errors
    return f'<?xml version="1.0" encoding="UTF-8"?>\n{xml.tostring().decode()}\n'


def _case(check: CheckResult, findings: Findings) -> Any:
    from junitparser import Failure, Skipped, TestCase  # noqa: PLC0415  # only needed here

    seconds = findings.environment.get("seconds", {}).get(_STAGES.get(check.name, ""), 0.0)
    case = TestCase(check.name, classname=_text(f"export-and-verify.{findings.file['format']}"), time=seconds)
    if check in findings.blamed:
        how = "skipped: " if check.status == "skipped" else ""
        failure = Failure(_text(how + check.detail), check.bound)
        more = [f"{key}: {value}" for key, value in check.where.items()]
        if findings.diagnosis:
            more.append(headed(findings.diagnosis.signature, findings.diagnosis.sentence))
        failure.text = _text("\n".join([how + check.detail, *more]))
        case.result = [failure]
    elif check.status == "skipped":
        case.result = [Skipped(_text(check.detail))]
    else:
        case.system_out = _text(check.detail)
    return case


def _text(value: object) -> str:
    """Replace what XML cannot hold; names of files may have any byte except zero and slash."""
    return _NOT_XML.sub("\ufffd", str(value))
