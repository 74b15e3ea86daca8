"""Every rendering says what the report says, in the layout that other people's tools read."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from pathlib import Path

import pytest
import xmlschema
from google.protobuf import json_format
from helpers.reports import GUILTY, failing, passing, replaced, without_logits
from in_toto_attestation.predicates.test_result.v0 import test_result_pb2
from in_toto_attestation.v1.statement import Statement
from junitparser import Failure, JUnitXml, Skipped

from verify.checks.result import CheckResult
from verify.report import attestation, junit, summary
from verify.report.files import NAMES, render
from verify.report.model import Report

JUNIT_SCHEMA = xmlschema.XMLSchema(Path(__file__).with_name("junit.xsd"))
REPORTS = {"pass": passing(), "fail": failing(), "no logits": without_logits(passing())}
HOSTILE = "</script><img src=x onerror=alert(1)>|`*_\x00\x1b[31m\ud800&"


def skipping_allowed() -> Report:
    report = without_logits(passing())
    names = ("operations", "execution", "quantization")
    return dataclasses.replace(report, policy=dataclasses.replace(report.policy, may_be_skipped=names))


@pytest.mark.parametrize("report", REPORTS.values(), ids=REPORTS)
def test_every_file_is_rendered_and_again_to_the_same_bytes(report: Report) -> None:
    files = render(report)
    assert tuple(files) == NAMES
    assert all(files.values())
    assert render(report) == files


@pytest.mark.parametrize("report", [*REPORTS.values(), skipping_allowed()], ids=[*REPORTS, "skipping allowed"])
def test_junit_has_one_case_a_check_in_the_common_layout(report: Report) -> None:
    text = junit.render(report)
    JUNIT_SCHEMA.validate(text)
    (suite,) = JUnitXml.fromstring(text.encode())
    assert [case.name for case in suite] == [check.name for check in report.checks]
    for case, check in zip(suite, report.checks, strict=True):
        kinds = [type(result) for result in case.result]
        if check in report.blamed:
            assert kinds == [Failure]
            assert check.detail in case.result[0].text
        else:
            assert kinds == ([Skipped] if check.status == "skipped" else [])
    assert suite.failures == len(report.blamed)


def test_a_check_that_may_not_be_skipped_is_a_failure_for_ci() -> None:
    assert (JUnitXml.fromstring(junit.render(REPORTS["no logits"]).encode()).failures) == 3
    assert JUnitXml.fromstring(junit.render(skipping_allowed()).encode()).failures == 0


@pytest.mark.parametrize(
    ("report", "result"),
    [*zip(REPORTS.values(), ("PASSED", "FAILED", "FAILED"), strict=True), (skipping_allowed(), "WARNED")],
)
def test_the_attestation_is_a_statement_about_the_file_with_a_test_result(report: Report, result: str) -> None:
    found = json.loads(attestation.render(report))
    statement = Statement([], "", {})
    json_format.ParseDict(found, statement.pb)
    statement.validate()
    (subject,) = statement.pb.subject
    assert subject.digest["sha256"] == report.file["sha256"]
    assert found["_type"] == "https://in-toto.io/Statement/v1"
    assert found["predicateType"] == "https://in-toto.io/attestation/test-result/v0.1"
    # refuses a field that it does not know
    predicate = json_format.ParseDict(found["predicate"], test_result_pb2.TestResult())
    assert predicate.result == result
    every = [*predicate.passed_tests, *predicate.warned_tests, *predicate.failed_tests]
    assert sorted(every) == sorted(check.name for check in report.checks)
    digests = {resource.name: resource.digest["sha256"] for resource in predicate.configuration}
    assert digests["report.json"] == hashlib.sha256(render(report)["report.json"]).hexdigest()
    assert digests["source model.pt"] == report.source["sha256"]["model.pt"]


def test_the_summary_names_the_verdict_the_guilty_tensor_and_what_to_do() -> None:
    text = summary.render(failing())
    first = text.splitlines()[0]
    assert "FAIL" in first
    assert "model.bin" in first
    plain = text.replace("\\", "")
    assert GUILTY in plain.split("|", 1)[0]
    assert "**Next:**" in text
    assert "PASS" in summary.render(passing()).splitlines()[0]


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
