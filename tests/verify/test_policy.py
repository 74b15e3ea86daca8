"""Policies fail closed: what is misread must not pass."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
from helpers.models import BIN_FORMATS

from verify.checks.quantization import check_quantization
from verify.checks.result import within
from verify.errors import CannotJudgeError
from verify.metrics import Metrics
from verify.policy import DEFAULT_POLICY, Limits, load_limits

HEALTHY = Metrics(
    positions=10,
    kl_mean=1e-4,
    kl_mean_ci=None,
    kl_p99=1e-3,
    kl_max=1e-2,
    top1_agreement=0.99,
    max_abs_logit_error=0.1,
    rms_logit_error=0.01,
    perplexity_source=8.0,
    perplexity_file=8.001,
    perplexity_ratio_ci=None,
)


@pytest.mark.parametrize("format_name", BIN_FORMATS)
def test_every_format_has_a_default(format_name: str) -> None:
    limits = load_limits(DEFAULT_POLICY, format_name)
    assert 0 < limits.kl_mean < limits.kl_max


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[v2]\nkl_mean = 'small'", "kl_mean: expected 0 to 1e.09, found 'small'"),
        ("[v2]\nkl_mean = nan", "kl_mean: expected 0 to 1e.09, found nan"),
        ("[v2]\nkl_mean = inf", "kl_mean: expected 0 to 1e.09, found inf"),
        ("[v2]\nkl_mean = -1", "kl_mean: expected 0 to 1e.09, found -1"),
        ("[v2]\nkl_mean = true", "kl_mean: expected 0 to 1e.09, found True"),
        ("[v2]\nkl_mean = 1" + "0" * 400, "kl_mean: expected 0 to 1e.09"),
        ("[v2]\ntop1_agreement = 95", "top1_agreement: expected 0 to 1, found 95"),
        ("[v2]\nkl_meen = 1", "found 'kl_meen'"),
        ("[v7]\nkl_mean = 1", "found 'v7'"),
        ("kl_mean = 1", "found 'kl_mean'"),
        ("[v2]\nkl_mean = 1", r"\[v2\]: expected kl_max, found none"),
        ("", r"expected a table \[v2\], found none"),
        ("[v2", "expected TOML"),
    ],
)
def test_a_policy_that_is_not_understood_is_refused(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "policy.toml"
    path.write_text(text)
    with pytest.raises(CannotJudgeError, match=message):
        load_limits(path, "v2")


def test_a_policy_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CannotJudgeError, match="expected a policy, found: no such file"):
        load_limits(tmp_path / "none.toml", "v2")


@pytest.mark.parametrize(
    "change",
    [
        {"kl_mean": 0.011},
        {"kl_max": 0.6},
        {"top1_agreement": 0.89},
        {"max_abs_logit_error": 3.1},
        {"perplexity_file": 8.2},
        {"kl_mean": float("nan")},
        {"max_abs_logit_error": float("inf")},
        {"perplexity_file": float("nan")},
    ],
)
def test_each_metric_beyond_its_limit_fails_by_name(change: dict[str, float]) -> None:
    limits = Limits(kl_mean=0.01, kl_max=0.5, top1_agreement=0.9, max_abs_logit_error=3.0, perplexity_ratio=1.02)
    assert check_quantization(HEALTHY, limits).status == "pass"
    result = check_quantization(dataclasses.replace(HEALTHY, **change), limits)
    assert result.status == "fail"
    (name,) = change
    named = {"top1_agreement": "top1_disagreement", "perplexity_file": "perplexity_ratio"}.get(name, name)
    assert named in result.detail


def test_a_limit_that_nothing_meets_fails_and_is_never_switched_off() -> None:
    limits = dataclasses.replace(load_limits(DEFAULT_POLICY, "v2"), kl_mean=-1.0)
    assert check_quantization(HEALTHY, limits).status == "fail"


def test_no_metrics_is_skipped_and_not_passed() -> None:
    assert check_quantization(None, load_limits(DEFAULT_POLICY, "v2")).status == "skipped"


@pytest.mark.parametrize(("observed", "limit"), [(float("nan"), 1.0), (1.0, float("nan")), (float("inf"), 1.0)])
def test_nan_never_passes_a_limit(observed: float, limit: float) -> None:
    assert within("execution", "statistical", observed, limit, "detail").status == "fail"
