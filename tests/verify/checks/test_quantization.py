"""Each metric is held to its own limit, and the one that counts is shown."""

from __future__ import annotations

import dataclasses
import math

import pytest
from helpers.reports import METRICS

from verify.checks.policy import QuantizationLimits
from verify.checks.quantization import LimitedMetric, against_limits, check_quantization

LIMITS = QuantizationLimits(
    kl_mean=0.03, kl_max=5.0, top1_agreement=0.85, max_abs_logit_error=30.0, perplexity_ratio=1.02
)


def test_the_metric_nearest_to_its_limit_is_shown() -> None:
    found = check_quantization(METRICS, LIMITS)
    assert found.status == "pass"
    # 5 % of tokens changed, of 15 % that may
    assert found.detail == "top1_disagreement: limit 0.15, found 0.05"
    assert found.where == {"window": 0, "position": 2}


@pytest.mark.parametrize(
    ("changes", "name"),
    [
        ({"kl_mean": 0.04}, "kl_mean"),
        ({"kl_max": math.nan}, "kl_max"),
        ({"top1_agreement": 0.8}, "top1_disagreement"),
        ({"max_abs_logit_error": math.inf}, "max_abs_logit_error"),
        ({"perplexity_file": 9.0}, "perplexity_ratio"),
    ],
)
def test_one_metric_beyond_its_limit_fails_and_is_named(changes: dict[str, float], name: str) -> None:
    metrics = dataclasses.replace(METRICS, **changes)  # type: ignore[arg-type]
    found = check_quantization(metrics, LIMITS)
    assert found.status == "fail"
    assert found.detail.startswith(f"{name}: limit ")
    assert [one.name for one in against_limits(metrics, LIMITS) if not one.fine] == [name]


def test_a_metric_just_beyond_its_limit_does_not_read_as_the_limit() -> None:
    found = check_quantization(dataclasses.replace(METRICS, kl_mean=0.03000001), LIMITS)
    assert found.detail == "kl_mean: limit 0.03, found 0.03000001"


def test_without_logits_or_text() -> None:
    assert check_quantization(None, LIMITS).status == "skipped"
    metrics = dataclasses.replace(METRICS, perplexity_source=None)
    assert "perplexity_ratio" not in {one.name for one in against_limits(metrics, LIMITS)}


def test_a_limit_of_zero_is_used_up_by_anything() -> None:
    uses = [LimitedMetric("x", observed, 0.0).use for observed in (0.0, 1e-300, math.nan)]
    assert uses == [0.0, math.inf, math.inf]
