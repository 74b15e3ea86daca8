"""judge(): judge a saved report under another policy or against a baseline, without running a model."""

from __future__ import annotations

import dataclasses
import os
from pathlib import Path

from verify.checks.baseline import check_baseline, under
from verify.checks.coverage import check_coverage
from verify.checks.policy import DEFAULT_POLICY, Policy, QuantizationLimits, load_policy
from verify.checks.quantization import check_quantization
from verify.checks.result import CheckResult, within
from verify.engine.trial import of_engine
from verify.errors import CannotJudgeError
from verify.report.findings import Baseline, JudgedAgain
from verify.report.model import Report
from verify.report.reported_file import expect_reported
from verify.report.saved import read_saved
from verify.report.signature import expect_signed
from verify.run.last_release import with_baseline
from verify.run.options import StrPath


def judge(
    report: StrPath,
    file: StrPath | None = None,
    policy: StrPath | None = None,
    baseline: StrPath | None = None,
    *,
    public_key: StrPath | None = None,
) -> Report:
    """Judge a saved report under another policy or against a baseline, without running a model.

    Exact checks stay as they are; checks with a limit are judged by the new limit.

    Args:
        report: a report.json.
        file: the file or directory that it is about, which is hashed again. Without it, the new report says that its
            file is as reported, and nothing attests it.
        policy: a TOML file of limits; None for the default.
        baseline: report.json of the last release; None keeps the baseline of the saved report, under the new policy's
            limits.
        public_key: an elliptic-curve key in PEM; the report must be signed by its private key.

    Returns:
        The report that verify() would have made with this policy and baseline.

    Raises:
        CannotJudgeError: the report cannot be used, or it is about another file.
    """
    saved = read_saved(Path(report))
    found = saved.report
    described = found.file
    signer = None if public_key is None else expect_signed(saved, Path(public_key))
    if file is not None:
        expect_reported(described, Path(file), saved.path)
        described = {**described, "path": os.fspath(file)}
    limits = load_policy(Path(policy) if policy else DEFAULT_POLICY, found.policy.section)
    found = dataclasses.replace(
        found,
        file=described,
        policy=limits,
        checks=_with_coverage([_again(check, found, limits) for check in found.checks], found, limits, saved.path),
        judged_again=JudgedAgain(
            file="as reported" if file is None else "hashed again",
            report_sha256=saved.sha256,
            public_key_sha256=signer,
        ),
    )
    if baseline is not None:
        return with_baseline(found, read_saved(Path(baseline)))
    return found if found.baseline is None else _baseline_again(found, found.baseline)


def _with_coverage(
    checks: list[CheckResult], report: Report, policy: Policy, saved: str | os.PathLike[str]
) -> tuple[CheckResult, ...]:
    """Return the checks with `coverage` as the policy demands it, before `baseline`."""
    others = [check for check in checks if check.name not in ("coverage", "baseline")]
    last = [check for check in checks if check.name == "baseline"]
    if policy.coverage is None:
        return (*others, *last)
    if report.coverage is None:
        raise CannotJudgeError(
            f"{os.fspath(saved)}: evidence: expected the coverage that {policy.path} demands in "
            f"[{policy.section}.coverage], found a report that was made before it was recorded: verify the file again"
        )
    return (*others, check_coverage(report.coverage, policy.coverage), *last)


def _baseline_again(report: Report, baseline: Baseline) -> Report:
    comparisons = under(report.policy.baseline, baseline.comparisons)
    checks = (*(check for check in report.checks if check.name != "baseline"), check_baseline(comparisons))
    return dataclasses.replace(report, checks=checks, baseline=dataclasses.replace(baseline, comparisons=comparisons))


def _again(check: CheckResult, report: Report, policy: Policy) -> CheckResult:
    match check.name, check.bound:
        case "operations", "rigorous" if policy.operations is not None:
            return _held_against(check, policy.operations.error_over_bound)
        case "execution" | "engine", "statistical":
            return _held_against(check, policy.execution.noise_sigmas)
        # a report without metrics has none for the reason that the check states
        case "quantization", "policy" if report.metrics is not None:
            both = report.metrics, report.metrics_q8_activations
            return check_quantization(*both, policy.quantization, lossless=False)
        case "engine", "policy":
            return _engine_again(check, report, policy.quantization)
    return check


def _engine_again(check: CheckResult, report: Report, limits: QuantizationLimits) -> CheckResult:
    engine, same = report.engine, limits == report.policy.quantization
    if engine is None or engine.metrics is None:
        if same:
            return check
        raise CannotJudgeError(
            "engine: expected its metrics, to judge it by other limits, found a report that was made before these "
            "were kept"
        )
    judged = check_quantization(None, engine.metrics, limits, lossless=False)
    again = of_engine(judged, engine.same_bits, engine.logits)
    if not same:
        return again
    if (again.status, again.observed, again.limit) != (check.status, check.observed, check.limit):
        raise CannotJudgeError(
            f"engine: observed: expected {again.observed} of {again.limit}, as its metrics give, "
            f"found {check.observed} of {check.limit}: the report contradicts itself"
        )
    # its detail also names the first position beyond the limits
    return check


def _held_against(check: CheckResult, limit: float) -> CheckResult:
    if check.observed is None or check.limit == limit:
        return check
    detail = f"{check.detail} (judged again, with a limit of {limit:g} instead of {check.limit:g})"
    return within(check.name, check.bound, check.observed, limit, detail, check.where)
