"""junit.xml has one case for each check, and CI fails where the verdict does."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
import xmlschema
from helpers.reports import COVERAGE, REPORTS, failing, skipping_allowed
from junitparser import Failure, JUnitXml, Skipped

from verify.report import junit
from verify.report.model import Report

JUNIT_SCHEMA = xmlschema.XMLSchema(Path(__file__).with_name("junit.xsd"))


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
    assert (JUnitXml.fromstring(junit.render(REPORTS["no logits"]).encode()).failures) == 4
    assert JUnitXml.fromstring(junit.render(skipping_allowed()).encode()).failures == 0


def test_times_of_stages_are_those_of_their_checks() -> None:
    report = failing()
    assert {case.time for case in next(iter(JUnitXml.fromstring(junit.render(report).encode())))} == {0.0}
    seconds = {"source": 1.0, "tensors": 2.5, "windows": 30.0, "operations": 12.25, "storage": 4.0}
    report = dataclasses.replace(report, environment={**report.environment, "seconds": seconds})
    text = junit.render(report)
    JUNIT_SCHEMA.validate(text)
    (suite,) = JUnitXml.fromstring(text.encode())
    expected = {"tensors": 2.5, "execution": 30.0, "operations": 12.25, "storage": 4.0}
    times = {case.name: case.time for case in suite}
    assert times == {name: expected.get(name, 0.0) for name in times}
    assert suite.time == sum(times.values()) > 0
    # report.json has them too, and still validates
    assert report.to_dict()["environment"]["seconds"] == seconds
    report.to_json()


def test_a_failure_has_its_place_and_the_diagnosis() -> None:
    report = failing()
    (suite,) = JUnitXml.fromstring(junit.render(report).encode())
    text = {case.name: case.result[0].text for case in suite if case.result}["tensors"]
    assert report.diagnosis is not None
    assert text.splitlines()[-1] == f"most likely: {report.diagnosis.sentence}"
    assert "index: [20, 7]" in text.splitlines()


def test_the_properties_name_the_policy_the_reason_and_what_was_covered() -> None:
    report = REPORTS["pass"]
    own = dataclasses.replace(report, policy=dataclasses.replace(report.policy, path="ci.toml"))
    (suite,) = JUnitXml.fromstring(junit.render(own).encode())
    found = {one.name: one.value for one in suite.properties()}
    assert found["policy"] == "ci.toml"
    assert found["reason"] == "7 of 7 checks passed, by the policy ci.toml"
    assert f"covered: {found['covered']}" == COVERAGE.sentence()
