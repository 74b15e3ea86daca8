"""A verdict fails closed, and says why in one sentence."""

from __future__ import annotations

import dataclasses

import pytest
from helpers.reports import failing, passing, replaced, skipping_allowed, without_logits
from hypothesis import given
from hypothesis import strategies as st

from verify.checks.result import CHECKS, CheckResult
from verify.report.findings import Findings
from verify.report.model import Report

ALLOWED = "3 of 7 checks passed, without operations, execution, storage, quantization, as the policy allows"


def by_own_policy(report: Report) -> Report:
    return dataclasses.replace(report, policy=dataclasses.replace(report.policy, path="ci.toml"))


def with_statuses(statuses: list[str], may_be_skipped: set[str]) -> Findings:
    checks = tuple(
        CheckResult(name, status, "exact", None, None, "x")  # type: ignore[arg-type]
        for name, status in zip(CHECKS, statuses, strict=False)
    )
    policy = dataclasses.replace(passing().policy, may_be_skipped=tuple(may_be_skipped))
    return dataclasses.replace(passing(), checks=checks, policy=policy)


@given(st.lists(st.sampled_from(["pass", "fail", "skipped"]), max_size=len(CHECKS)), st.sets(st.sampled_from(CHECKS)))
def test_a_pass_is_at_least_one_passed_check_and_nothing_to_blame(statuses: list[str], allowed: set[str]) -> None:
    found = with_statuses(statuses, allowed)
    bad = [
        check
        for check in found.checks
        if check.status == "fail" or (check.status == "skipped" and check.name not in allowed)
    ]
    assert sorted(check.name for check in found.blamed) == sorted(check.name for check in bad)
    assert found.passed == ("pass" in statuses and not bad)
    assert found.verdict == ("pass" if found.passed else "fail")
    assert [check.status for check in found.blamed] == sorted(check.status for check in found.blamed)


@pytest.mark.parametrize(
    ("findings", "reason"),
    [
        (passing(), "7 of 7 checks passed"),
        (
            skipping_allowed(),
            ALLOWED,
        ),
        (without_logits(passing()), "operations: skipped: the source's norm.weight holds a NaN"),
        (dataclasses.replace(passing(), checks=()), "no check passed"),
        (by_own_policy(passing()), "7 of 7 checks passed, by the policy ci.toml"),
        (by_own_policy(skipping_allowed()), ALLOWED.replace("passed,", "passed, by the policy ci.toml,")),
        (
            by_own_policy(without_logits(passing())),
            "operations: skipped: the source's norm.weight holds a NaN (by the policy ci.toml)",
        ),
    ],
)
def test_the_reason_is_the_first_thing_to_blame(findings: Findings, reason: str) -> None:
    assert findings.reason == reason


def test_failures_are_blamed_before_what_was_skipped() -> None:
    report = without_logits(passing())
    late = CheckResult("quantization", "fail", "policy", 1.0, 0.5, "x")
    found = dataclasses.replace(report, checks=replaced(report.checks, late))
    assert [check.name for check in found.blamed] == ["quantization", "operations", "execution", "storage"]
    assert failing().reason.startswith("tensors: ")
