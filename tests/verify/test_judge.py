"""A saved report under another policy: what a limit decides may change, what was seen to be wrong may not."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path

import pytest
from helpers.reports import DIGEST, LIMITING_POLICY, METRICS, failing, passing, replaced, without_logits

from verify.checks.metrics import Metrics
from verify.checks.policy import DEFAULT_POLICY
from verify.checks.result import exact, skipped, within
from verify.engine.trial import EngineReport
from verify.errors import CannotJudgeError
from verify.judge import judge
from verify.report.model import Report


def saved(directory: Path, report: Report) -> Path:
    path = directory / "report.json"
    path.write_text(report.to_json())
    return path


def policy(directory: Path, **changes: str) -> Path:
    """The example, which limits every cost, with lines of [v2] changed: kl_max="0.001"."""
    text = LIMITING_POLICY.read_text()
    head, table, tail = re.split(r"(?ms)^(\[v2\].*?)(?=^\[v3\])", text)
    for key, value in changes.items():
        table, count = re.subn(rf"(?m)^{key} = .*$", f"{key} = {value}", table, count=1)
        assert count == 1
    path = directory / "policy.toml"
    path.write_text(head + table + tail)
    return path


def test_under_its_own_policy_a_report_stays_as_it_is(tmp_path: Path) -> None:
    for report in (passing(), failing(), without_logits(passing())):
        again = judge(saved(tmp_path, report))
        assert again.verdict == report.verdict
        assert [check.status for check in again.checks] == [check.status for check in report.checks]


@pytest.mark.parametrize(
    ("key", "value", "check"),
    [
        ("error_over_bound", "0.5", "operations"),
        ("noise_sigmas", "2.5", "execution"),
        ("kl_max", "0.01", "quantization"),
        ("top1_agreement", "0.96", "quantization"),
        ("max_abs_logit_error", "0.3", "quantization"),
        ("perplexity_ratio", "1.0001", "quantization"),
    ],
)
def test_a_stricter_policy_fails_the_check_that_it_speaks_of(
    tmp_path: Path, key: str, value: str, check: str
) -> None:
    report = judge(saved(tmp_path, passing()), policy(tmp_path, **{key: value}))
    assert [blamed.name for blamed in report.blamed] == [check]
    assert report.policy.path.endswith("policy.toml")


def test_a_wider_policy_passes_what_only_a_limit_had_failed(tmp_path: Path) -> None:
    beyond = within("execution", "statistical", 12.0, 10.0, "700 logits")
    report = dataclasses.replace(passing(), checks=replaced(passing().checks, beyond))
    assert not report.passed
    again = judge(saved(tmp_path, report), policy(tmp_path, noise_sigmas="20.0"))
    assert again.passed
    assert "judged again, with a limit of 20 instead of 10" in again.checks[4].detail


def with_engine(metrics: Metrics | None) -> Report:
    """Of an engine with int8 activations, which lies within the default's limits."""
    engine = EngineReport(None, "mine", DIGEST, "q8", 2, 1392, 0, None, "", "", metrics)
    detail = "kl_mean: limit 0.03, found 0.001; 0.0% of its logits have the C reader's bits"
    check = within("engine", "policy", 1e-3, 0.03, detail)
    checks = passing().checks
    return dataclasses.replace(passing(), checks=(*checks[:5], check, *checks[5:]), engine=engine)


def test_an_engine_that_a_policy_decided_about_is_held_against_the_new_one(tmp_path: Path) -> None:
    beyond = saved(tmp_path, with_engine(dataclasses.replace(METRICS, kl_mean=0.02)))
    strict = policy(tmp_path, kl_mean="0.01")
    report = judge(beyond, strict)
    assert [blamed.name for blamed in report.blamed] == ["engine"]
    assert (
        report.reason
        == "engine: kl_mean by int8 activations: limit 0.01, found 0.02; 0.0% of its logits have the C reader's bits"
    )
    # and back again
    assert judge(saved(tmp_path, report), LIMITING_POLICY).passed


def test_an_engine_whose_metrics_were_not_kept_is_judged_again_by_the_same_limits_only(tmp_path: Path) -> None:
    path = saved(tmp_path, with_engine(None))
    assert judge(path, policy(tmp_path, noise_sigmas="20.0")).checks[5] == with_engine(None).checks[5]
    for limits in ({"kl_mean": "0.01"}, {"kl_max": "1e9"}):
        with pytest.raises(CannotJudgeError, match="engine: expected its metrics, to judge it by other limits"):
            judge(path, policy(tmp_path, **limits))


@pytest.mark.parametrize("name", ["config", "file", "tensors", "execution", "quantization"])
def test_no_policy_passes_what_tolerates_nothing(tmp_path: Path, name: str) -> None:
    report = passing()
    if name == "quantization":
        report = without_logits(report)
    report = dataclasses.replace(report, checks=replaced(report.checks, exact(name, 1, "something is wrong")))
    wide = policy(tmp_path, noise_sigmas="1e9", error_over_bound="1e9", kl_mean="1e9", kl_max="1e9")
    assert name in [check.name for check in judge(saved(tmp_path, report), wide).blamed]


def test_a_policy_says_what_may_be_skipped_and_only_that(tmp_path: Path) -> None:
    path = saved(tmp_path, without_logits(passing()))
    allowed = policy(tmp_path, may_be_skipped='["operations", "execution", "storage"]')
    assert [check.name for check in judge(path, allowed).blamed] == ["quantization"]
    report = judge(path, policy(tmp_path, may_be_skipped='["operations", "execution", "storage", "quantization"]'))
    assert report.passed
    assert report.reason == (
        "3 of 7 checks passed, without operations, execution, storage, quantization, as the policy allows"
    )


def test_a_baseline_is_held_against_the_new_policy_too(tmp_path: Path) -> None:
    earlier = saved(tmp_path, passing())
    windows = tuple(dataclasses.replace(w, kl_mean=w.kl_mean + 0.004) for w in passing().windows)
    (tmp_path / "today").mkdir()
    today = saved(tmp_path / "today", dataclasses.replace(passing(), windows=windows))
    report = judge(today, baseline=earlier)
    assert [check.name for check in report.blamed] == ["baseline"]
    compared = saved(tmp_path / "today", report)
    assert not judge(compared).passed
    text = policy(tmp_path).read_text().replace("kl_mean = 1e-5", "kl_mean = 0.01")
    (tmp_path / "policy.toml").write_text(text)
    assert judge(compared, tmp_path / "policy.toml").passed


def test_nothing_but_skipped_checks_is_no_pass(tmp_path: Path) -> None:
    report = without_logits(passing())
    names = [check.name for check in report.checks]
    checks = tuple(skipped(check.name, check.bound, "nothing was seen") for check in report.checks)
    report = dataclasses.replace(report, checks=checks)
    again = judge(saved(tmp_path, report), policy(tmp_path, may_be_skipped=str(names)))
    assert not again.passed
    assert again.reason == "no check passed"


def test_a_policy_without_the_files_table_is_refused(tmp_path: Path) -> None:
    text = DEFAULT_POLICY.read_text()
    (tmp_path / "policy.toml").write_text(text[text.index("\n[v3]\n") :])
    with pytest.raises(CannotJudgeError, match=r"expected a table \[v2\], found none"):
        judge(saved(tmp_path, passing()), tmp_path / "policy.toml")
