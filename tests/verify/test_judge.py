"""A saved report under another policy: what a limit decides may change, what was seen to be wrong may not."""

from __future__ import annotations

import dataclasses
import hashlib
import re
from pathlib import Path

import pytest
from helpers.reports import DIGEST, LIMITING_POLICY, METRICS, consistent, failing, passing, replaced, without_logits

from verify.checks.metrics import Metrics
from verify.checks.policy import DEFAULT_POLICY
from verify.checks.quantization import check_quantization
from verify.checks.result import exact, skipped, within
from verify.engine.engine_report import EngineReport
from verify.engine.trial import of_engine
from verify.errors import CannotJudgeError
from verify.judge_report import judge
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
    report = judge(saved(tmp_path, passing()), policy=policy(tmp_path, **{key: value}))
    assert [blamed.name for blamed in report.blamed] == [check]
    assert report.policy.path.endswith("policy.toml")


def test_a_wider_policy_passes_what_only_a_limit_had_failed(tmp_path: Path) -> None:
    beyond = within("execution", "statistical", 12.0, 10.0, "700 logits")
    report = dataclasses.replace(passing(), checks=replaced(passing().checks, beyond))
    assert not report.passed
    again = judge(saved(tmp_path, report), policy=policy(tmp_path, noise_sigmas="20.0"))
    assert again.passed
    assert "judged again, with a limit of 20 instead of 10" in again.checks[4].detail


def with_engine(metrics: Metrics | None) -> Report:
    """Of an engine with int8 activations, judged by limits on its cost, as earlier versions did."""
    engine = EngineReport(None, "mine", DIGEST, "q8", 2, 1392, 0, None, "", "", metrics)
    judged = check_quantization(None, metrics or METRICS, passing().policy.quantization, lossless=False)
    check = of_engine(judged, 0, 1392)
    checks = passing().checks
    return dataclasses.replace(passing(), checks=(*checks[:5], check, *checks[5:]), engine=engine)


def test_an_engine_that_a_policy_decided_about_is_held_against_the_new_one(tmp_path: Path) -> None:
    beyond = saved(tmp_path, with_engine(dataclasses.replace(METRICS, kl_mean=0.02)))
    strict = policy(tmp_path, kl_mean="0.01")
    report = judge(beyond, policy=strict)
    assert [blamed.name for blamed in report.blamed] == ["engine"]
    assert report.reason == (
        "engine: kl_mean by int8 activations: limit 0.01, found 0.02; 0.0% of its logits have the C reader's bits "
        f"(by the policy {strict})"
    )
    # and back again
    assert judge(saved(tmp_path, report), policy=LIMITING_POLICY).passed


@pytest.mark.parametrize(("name", "place"), [("execution", 4), ("engine", 5)])
def test_an_engine_in_float32_is_held_against_the_new_sigmas(tmp_path: Path, name: str, place: int) -> None:
    """Its own limit is the same as that of `execution`: equal passes, less does not."""
    statistical = within(name, "statistical", 4.0, 10.0, "largest")
    report = with_engine(METRICS) if name == "engine" else passing()
    others = tuple(check for check in report.checks if check.name != name)
    path = saved(tmp_path, dataclasses.replace(report, checks=(*others[:place], statistical, *others[place:])))
    for sigmas, status in (("4.0", "pass"), ("3.99", "fail")):
        (check,) = (
            one for one in judge(path, policy=policy(tmp_path, noise_sigmas=sigmas)).checks if one.name == name
        )
        assert (check.status, check.observed, check.limit) == (status, 4.0, float(sigmas))
        assert check.detail == f"largest (judged again, with a limit of {sigmas.removesuffix('.0')} instead of 10)"


def test_an_engine_s_figures_are_those_of_its_metrics(tmp_path: Path) -> None:
    report = with_engine(dataclasses.replace(METRICS, kl_mean=0.06))
    assert report.checks[5].observed == 0.06
    assert not judge(saved(tmp_path, report), policy=LIMITING_POLICY).passed
    forged = within("engine", "policy", 0.01, 0.03, "kl_mean: limit 0.03, found 0.01")
    path = saved(tmp_path, dataclasses.replace(report, checks=replaced(report.checks, forged)))
    with pytest.raises(CannotJudgeError) as caught:
        judge(path, policy=LIMITING_POLICY)
    assert str(caught.value) == (
        "engine: observed: expected 0.06 of 0.03, as its metrics give, found 0.01 of 0.03: "
        "the report contradicts itself"
    )


def test_an_engine_whose_metrics_were_not_kept_is_judged_again_by_the_same_limits_only(tmp_path: Path) -> None:
    path = saved(tmp_path, with_engine(None))
    assert judge(path, policy=policy(tmp_path, noise_sigmas="20.0")).checks[5] == with_engine(None).checks[5]
    for limits in ({"kl_mean": "0.01"}, {"kl_max": "1e9"}):
        with pytest.raises(CannotJudgeError, match="engine: expected its metrics, to judge it by other limits"):
            judge(path, policy=policy(tmp_path, **limits))


@pytest.mark.parametrize("name", ["config", "file", "tensors", "execution", "quantization"])
def test_no_policy_passes_what_tolerates_nothing(tmp_path: Path, name: str) -> None:
    report = passing()
    if name == "quantization":
        report = without_logits(report)
    report = dataclasses.replace(report, checks=replaced(report.checks, exact(name, 1, "something is wrong")))
    wide = policy(tmp_path, noise_sigmas="1e9", error_over_bound="1e9", kl_mean="1e9", kl_max="1e9")
    assert name in [check.name for check in judge(saved(tmp_path, report), policy=wide).blamed]


def test_a_policy_says_what_may_be_skipped_and_only_that(tmp_path: Path) -> None:
    path = saved(tmp_path, without_logits(passing()))
    allowed = policy(tmp_path, may_be_skipped='["operations", "execution", "storage"]')
    assert [check.name for check in judge(path, policy=allowed).blamed] == ["quantization"]
    lax = policy(tmp_path, may_be_skipped='["operations", "execution", "storage", "quantization"]')
    report = judge(path, policy=lax)
    assert report.passed
    assert report.reason == (
        f"3 of 7 checks passed, by the policy {lax}, "
        "without operations, execution, storage, quantization, as the policy allows"
    )


def test_a_baseline_is_held_against_the_new_policy_too(tmp_path: Path) -> None:
    earlier = saved(tmp_path, passing())
    windows = tuple(dataclasses.replace(w, kl_mean=w.kl_mean + 0.004) for w in passing().windows)
    (tmp_path / "today").mkdir()
    today = saved(tmp_path / "today", consistent(dataclasses.replace(passing(), windows=windows)))
    report = judge(today, baseline=earlier)
    assert [check.name for check in report.blamed] == ["baseline"]
    compared = saved(tmp_path / "today", report)
    assert not judge(compared).passed
    text = policy(tmp_path).read_text().replace("kl_mean = 1e-5", "kl_mean = 0.01")
    (tmp_path / "policy.toml").write_text(text)
    assert judge(compared, policy=tmp_path / "policy.toml").passed


def test_nothing_but_skipped_checks_is_no_pass(tmp_path: Path) -> None:
    report = without_logits(passing())
    names = [check.name for check in report.checks]
    checks = tuple(skipped(check.name, check.bound, "nothing was seen") for check in report.checks)
    report = dataclasses.replace(report, checks=checks)
    lax = policy(tmp_path, may_be_skipped=str(names))
    again = judge(saved(tmp_path, report), policy=lax)
    assert not again.passed
    assert again.reason == f"no check passed (by the policy {lax})"


def test_a_policy_without_the_files_table_is_refused(tmp_path: Path) -> None:
    text = DEFAULT_POLICY.read_text()
    (tmp_path / "policy.toml").write_text(text[text.index("\n[v3]\n") :])
    with pytest.raises(CannotJudgeError, match=r"expected a table \[v2\], found none"):
        judge(saved(tmp_path, passing()), policy=tmp_path / "policy.toml")


def demanding(directory: Path, **demands: object) -> Path:
    """The example with a table [v2.coverage]."""
    path = directory / "policy.toml"
    lines = "".join(f"{key} = {value}\n" for key, value in demands.items())
    path.write_text(f"{LIMITING_POLICY.read_text()}\n[v2.coverage]\n{lines}")
    return path


def test_a_policy_that_demands_coverage_judges_what_was_recorded(tmp_path: Path) -> None:
    path = saved(tmp_path, passing())
    names = [check.name for check in passing().checks]
    for windows, status in ((8, "pass"), (9, "fail")):
        report = judge(path, policy=demanding(tmp_path, windows=windows))
        assert [check.name for check in report.checks] == [*names, "coverage"]
        assert report.checks[-1].status == status
        # and without the demand there is no such check
        (tmp_path / "again").mkdir(exist_ok=True)
        without = judge(saved(tmp_path / "again", report), policy=LIMITING_POLICY)
        assert [check.name for check in without.checks] == names


def test_coverage_comes_before_the_baseline(tmp_path: Path) -> None:
    earlier = saved(tmp_path, passing())
    (tmp_path / "today").mkdir()
    compared = saved(tmp_path / "today", judge(earlier, baseline=earlier))
    report = judge(compared, policy=demanding(tmp_path, windows=1))
    assert [check.name for check in report.checks][-3:] == ["quantization", "coverage", "baseline"]
    assert [check.name for check in judge(compared).checks][-2:] == ["quantization", "baseline"]


def test_coverage_that_was_not_recorded_cannot_be_demanded(tmp_path: Path) -> None:
    evidence = {key: value for key, value in passing().evidence.items() if key != "coverage"}
    path = saved(tmp_path, dataclasses.replace(passing(), evidence=evidence))
    assert judge(path).passed
    demands = demanding(tmp_path, windows=1)
    with pytest.raises(CannotJudgeError) as caught:
        judge(path, policy=demands)
    assert str(caught.value) == (
        f"{path}: evidence: expected the coverage that {demands} demands in [v2.coverage], found a report that was "
        "made before it was recorded: verify the file again"
    )


def test_a_report_that_is_judged_again_says_so(tmp_path: Path) -> None:
    path = saved(tmp_path, passing())
    again = judge(path).judged_again
    assert again is not None
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    assert (again.file, again.report_sha256, again.public_key_sha256) == ("as reported", digest, None)
    file = tmp_path / "moved.bin"
    file.write_bytes(b"x" * 1000)
    described = {**passing().file, "sha256": hashlib.sha256(b"x" * 1000).hexdigest()}
    path = saved(tmp_path, dataclasses.replace(passing(), file=described))
    report = judge(path, file)
    assert report.judged_again is not None
    assert (report.judged_again.file, report.file) == ("hashed again", {**described, "path": str(file)})
    file.write_bytes(b"y" * 1000)
    with pytest.raises(CannotJudgeError):
        judge(path, file)


def test_the_same_limit_changes_no_word_and_what_was_skipped_stays(tmp_path: Path) -> None:
    beyond = within("execution", "statistical", 12.0, 10.0, "700 logits")
    report = dataclasses.replace(passing(), checks=replaced(passing().checks, beyond))
    assert judge(saved(tmp_path, report)).checks[4] == beyond
    unseen = skipped("execution", "statistical", "nothing was seen")
    report = dataclasses.replace(passing(), checks=replaced(passing().checks, unseen))
    assert unseen in judge(saved(tmp_path, report), policy=policy(tmp_path, noise_sigmas="1e-3")).checks


def test_storage_has_no_limit_in_a_policy(tmp_path: Path) -> None:
    strict = policy(tmp_path, noise_sigmas="1e-3", error_over_bound="1e-3", kl_mean="1e-9")
    found = {check.name: check.status for check in judge(saved(tmp_path, passing()), policy=strict).checks}
    assert [name for name, status in found.items() if status == "fail"] == ["operations", "execution", "quantization"]
