"""attestation.json is an in-toto Statement about the file, with the verdict as a test result."""

from __future__ import annotations

import hashlib
import json

import pytest
from google.protobuf import json_format
from helpers.reports import REPORTS, skipping_allowed
from in_toto_attestation.predicates.test_result.v0 import test_result_pb2
from in_toto_attestation.v1.statement import Statement

from verify.report import attestation
from verify.report.files import render
from verify.report.model import Report


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
    (own,) = (one for one in found["predicate"]["configuration"] if one["name"] == "report.json")
    assert own["annotations"]["covered"] == report.evidence["coverage"]
    assert digests["report.json"] == hashlib.sha256(render(report)["report.json"]).hexdigest()
    assert digests["source model.pt"] == report.source["sha256"]["model.pt"]
