"""Each metric is held to its own limit, and the one that counts is shown."""

from __future__ import annotations

import dataclasses
import math

import pytest
from helpers.reports import METRICS

from verify.checks.policy import QuantizationLimits
from verify.checks.quantization import LimitedMetric, check_quantization, with_limits

LIMITS = QuantizationLimits(
    kl_mean=0.03, kl_max=5.0, top1_agreement=0.85, max_abs_logit_error=30.0, perplexity_ratio=1.02
)


def test_the_metric_nearest_to_its_limit_is_shown() -> None:
    found = check_quantization(METRICS, None, LIMITS, lossless=False)
    assert found.status == "pass"
    # 5 % of tokens changed, of 15 % that may
    assert found.detail == "1 - top1_agreement by float32 activations: limit 0.15, found 0.05"
    assert found.where == {"activations": "fp32", "window": 0, "position": 2}


@pytest.mark.parametrize(
    ("changes", "name"),
    [
        ({"kl_mean": 0.04}, "kl_mean"),
        ({"kl_max": math.nan}, "kl_max"),
        ({"top1_agreement": 0.8}, "1 - top1_agreement"),
        ({"max_abs_logit_error": math.inf}, "max_abs_logit_error"),
        ({"perplexity_file": 9.0}, "perplexity_ratio"),
    ],
)
def test_one_metric_beyond_its_limit_fails_and_is_named(changes: dict[str, float], name: str) -> None:
    metrics = dataclasses.replace(METRICS, **changes)  # type: ignore[arg-type]
    by_float = check_quantization(metrics, METRICS, LIMITS, lossless=False)
    by_int8 = check_quantization(METRICS, metrics, LIMITS, lossless=False)
    assert by_float.status == by_int8.status == "fail"
    assert by_float.detail.startswith(f"{name} by float32 activations: limit ")
    assert by_int8.detail.startswith(f"{name} by int8 activations: limit ")
    assert (by_float.where["activations"], by_int8.where["activations"]) == ("fp32", "q8")
    assert [one.name for one in with_limits(metrics, LIMITS) if not one.fine] == [name]


def test_a_metric_just_beyond_its_limit_does_not_read_as_the_limit() -> None:
    found = check_quantization(dataclasses.replace(METRICS, kl_mean=0.03000001), None, LIMITS, lossless=False)
    assert found.detail == "kl_mean by float32 activations: limit 0.03, found 0.03000001"
    at_the_limit = check_quantization(dataclasses.replace(METRICS, kl_mean=0.03), None, LIMITS, lossless=False)
    assert at_the_limit.status == "pass"


def test_both_kinds_of_activations_beyond_their_limits_are_named() -> None:
    metrics = dataclasses.replace(METRICS, kl_mean=0.04)
    found = check_quantization(metrics, dataclasses.replace(metrics, kl_mean=0.05), LIMITS, lossless=False)
    assert found.detail == (
        "kl_mean by float32 activations: limit 0.03, found 0.04; kl_mean by int8 activations: limit 0.03, found 0.05"
    )
    assert found.observed == 0.05


def test_without_limits_it_passes_and_states_the_cost_of_both_kinds_of_activations() -> None:
    q8 = dataclasses.replace(METRICS, kl_mean=1e9)
    found = check_quantization(METRICS, q8, QuantizationLimits(), lossless=False)
    assert (found.status, found.bound, found.observed, found.limit) == ("pass", "policy", 1e9, None)
    assert found.detail == (
        "kl_mean: 0.001 by float32 activations, 1e+09 by int8 activations; no limits: the policy sets none"
    )
    assert found.where["activations"] == "q8"


@pytest.mark.parametrize("wrong", [math.nan, math.inf])
def test_without_limits_a_cost_that_is_not_finite_fails(wrong: float) -> None:
    for both in ((wrong, 0.0), (0.0, wrong)):
        metrics, q8 = (dataclasses.replace(METRICS, kl_mean=kl) for kl in both)
        found = check_quantization(metrics, q8, QuantizationLimits(), lossless=False)
        assert (found.status, found.detail) == ("fail", "kl_mean is not finite")


@pytest.mark.parametrize("name", [field.name for field in dataclasses.fields(QuantizationLimits)])
def test_one_limit_alone_limits_nothing_else(name: str) -> None:
    limits = dataclasses.replace(QuantizationLimits(), **{name: getattr(LIMITS, name)})
    assert [one.name for one in with_limits(METRICS, limits) if one.limit is not None] == [
        "1 - top1_agreement" if name == "top1_agreement" else name
    ]
    assert check_quantization(METRICS, METRICS, limits, lossless=False).status == "pass"


@pytest.mark.parametrize("limits", [QuantizationLimits(), LIMITS, QuantizationLimits(kl_mean=0.0)])
def test_lossless_storage_costs_exactly_nothing_whatever_the_limits(limits: QuantizationLimits) -> None:
    found = check_quantization(METRICS, None, limits, lossless=True)
    assert (found.status, found.bound, found.observed, found.limit) == ("pass", "exact", 0.0, 0.0)
    assert found.detail == "every tensor holds the source's numbers: storage costs nothing"


def test_without_logits_or_text() -> None:
    assert check_quantization(None, None, LIMITS, lossless=False).status == "skipped"
    metrics = dataclasses.replace(METRICS, perplexity_source=None)
    assert "perplexity_ratio" not in {one.name for one in with_limits(metrics, LIMITS)}


def test_a_limit_of_zero_is_used_up_by_anything() -> None:
    uses = [LimitedMetric("x", observed, 0.0).use for observed in (0.0, 1e-300, math.nan)]
    assert uses == [0.0, math.inf, math.inf]


def test_a_metric_at_its_limit_is_fine_and_one_without_a_limit_uses_none() -> None:
    assert LimitedMetric("x", 0.5, 0.5).fine
    assert not LimitedMetric("x", math.nextafter(0.5, 1), 0.5).fine
    assert not LimitedMetric("x", math.nan, 0.5).fine
    assert LimitedMetric("x", math.nan, None).fine
    assert [LimitedMetric("x", 0.5, limit).use for limit in (0.25, 0.5, 2.0, None)] == [2.0, 1.0, 0.25, 0.0]


def test_a_cost_that_is_not_finite_is_one_finding() -> None:
    metrics = dataclasses.replace(METRICS, kl_mean=math.nan)
    found = check_quantization(metrics, metrics, QuantizationLimits(), lossless=False)
    assert (found.observed, found.limit, found.bound) == (1.0, 0.0, "exact")


def test_without_worst_positions_only_the_activations_are_named() -> None:
    metrics = dataclasses.replace(METRICS, worst_positions=())
    assert check_quantization(metrics, None, LIMITS, lossless=False).where == {"activations": "fp32"}
