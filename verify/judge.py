"""judge(): judge a saved report under another policy or against a baseline, without running a model."""

from __future__ import annotations

import dataclasses
import os
from pathlib import Path

from verify.checks.baseline import check_baseline, under
from verify.checks.policy import DEFAULT_POLICY, Policy, QuantizationLimits, load_policy
from verify.checks.quantization import check_quantization
from verify.checks.result import CheckResult, within
from verify.engine.trial import of_engine
from verify.errors import CannotJudgeError
from verify.report.findings import Baseline
from verify.report.model import Report
from verify.report.saved import read_report, read_saved
from verify.run.last_release import with_baseline


def judge(
    saved: str | os.PathLike[str],
    policy: str | os.PathLike[str] | None = None,
    baseline: str | os.PathLike[str] | None = None,
) -> Report:
    """Return the report that verify() would have made with this policy and baseline.

    saved: a report.json. policy: a TOML file of limits; None for the default. baseline: report.json of the last
    release; None keeps the baseline of the saved report, under the new policy's limits.
    Exact checks stay as they are; checks with a limit are judged by the new limit. Raises CannotJudgeError.
    """
    report = read_report(Path(saved))
    limits = load_policy(Path(policy) if policy else DEFAULT_POLICY, report.policy.section)
    checks = tuple(_again(check, report, limits) for check in report.checks)
    report = dataclasses.replace(report, policy=limits, checks=checks)
    if baseline is not None:
        return with_baseline(report, read_saved(Path(baseline)))
    return report if report.baseline is None else _baseline_again(report, report.baseline)


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
    if limits == report.policy.quantization:
        return check
    engine = report.engine
    if engine is None or engine.metrics is None:
        raise CannotJudgeError(
            "engine: expected its metrics, to judge it by other limits, found a report that was made before these "
            "were kept"
        )
    judged = check_quantization(None, engine.metrics, limits, lossless=False)
    return of_engine(judged, engine.same_bits, engine.logits)


def _held_against(check: CheckResult, limit: float) -> CheckResult:
    if check.observed is None or check.limit == limit:
        return check
    detail = f"{check.detail} (judged again, with a limit of {limit:g} instead of {check.limit:g})"
    return within(check.name, check.bound, check.observed, limit, detail, check.where)
