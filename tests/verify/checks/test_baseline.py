"""A file is worse than its baseline only where the whole interval is beyond the limit."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest
from helpers.reports import window

from verify.checks.baseline import BaselineComparison, check_baseline, compare, describe, under
from verify.checks.metrics import WindowMetrics
from verify.checks.policy import DEFAULT_POLICY, load_policy

LIMITS = load_policy(DEFAULT_POLICY, "v2").baseline
OLD = [window(number, "text") for number in range(5)]


def worse_by(amount: float, spread: float = 0.0) -> list[WindowMetrics]:
    noise = np.random.default_rng(0).standard_normal(len(OLD)) * spread
    return [dataclasses.replace(w, kl_mean=w.kl_mean + amount + float(e)) for w, e in zip(OLD, noise, strict=True)]


def test_the_same_figures_are_no_worse() -> None:
    found = compare(OLD, OLD, LIMITS)
    assert {one.metric for one in found} == {"kl_mean", "top1_agreement", "rms_logit_error", "nll"}
    assert all(one.difference == 0 and not one.worse for one in found)
    check = check_baseline(found)
    assert check.status == "pass"
    assert check.detail.startswith("none of 4 figures is worse than chance explains; the nearest: ")


def test_what_chance_explains_is_no_worse_and_what_it_does_not_is() -> None:
    assert check_baseline(compare(worse_by(1e-4, spread=1e-2), OLD, LIMITS)).status == "pass"
    check = check_baseline(compare(worse_by(1e-2, spread=1e-4), OLD, LIMITS))
    assert check.status == "fail"
    assert check.detail.startswith("kl_mean on 5 windows of text: found ")
    assert check.where["metric"] == "kl_mean"


def test_the_number_of_figures_that_are_worse_too_is_said() -> None:
    worse = [dataclasses.replace(w, top1_agreement=0.5) for w in worse_by(1.0)]
    assert check_baseline(compare(worse, OLD, LIMITS)).detail.endswith("; 1 of 3 other figures is also worse")


def test_fixed_and_single_windows_are_no_sample() -> None:
    one = [window(0, "text"), window(1, "fixed"), window(2, "fixed")]
    assert compare(one, one, LIMITS) == ()
    assert check_baseline(()).status == "skipped"
    random = [window(number, "random") for number in (0, 1)]
    assert {found.metric for found in compare(random, random, LIMITS)} == {
        "kl_mean",
        "top1_agreement",
        "rms_logit_error",
    }


def test_other_limits_change_nothing_else() -> None:
    found = compare(worse_by(1e-2), OLD, LIMITS)
    lax = under(dataclasses.replace(LIMITS, kl_mean=1.0), found)
    assert [one.worse for one in lax] == [False] * 4
    assert [dataclasses.replace(one, limit=0.0) for one in lax] == [
        dataclasses.replace(one, limit=0.0) for one in found
    ]


@pytest.mark.parametrize(
    ("difference", "words"), [(0.5, "0.5 worse than"), (-0.5, "0.5 better than"), (0.0, "the same as")]
)
def test_the_direction_is_said(difference: float, words: str) -> None:
    found = BaselineComparison("kl_mean", "q8", "random", 3, 1.0, 1.5, difference, (0.0, 1.0), 0.1)
    assert f"windows of random, int8 activations: found 1.5, {words} the baseline's 1 " in describe(found)
    assert dataclasses.replace(found, interval=(math.nan, 1.0)).worse


@pytest.mark.parametrize("activations", ["fp32", "q8"])
def test_the_interval_is_student_s_shared_by_all_figures(activations: str) -> None:
    """Of two windows, t's quantile has a closed form: tan(pi (p - 1/2)). Both tails of all figures share 5 %."""
    old = [dataclasses.replace(window(number, "text"), activations=activations) for number in (0, 1)]
    random = [window(number, "random") for number in (0, 1)]
    differences = (0.25, 0.75)
    new = [dataclasses.replace(w, kl_mean=w.kl_mean + d) for w, d in zip(old, differences, strict=True)]
    for others, figures in (([], 4), (random, 7)):
        found = compare([*new, *others], [*old, *others], LIMITS)
        assert len(found) == figures
        (kl,) = (one for one in found if one.metric == "kl_mean" and one.origin == "text")
        quantile = math.tan(math.pi * (1 - 0.05 / 2 / figures - 0.5))
        half = quantile * 0.5 / math.sqrt(2) / math.sqrt(2)  # two numbers 0.5 apart deviate by 0.5 / sqrt 2
        assert kl.interval == pytest.approx((0.5 - half, 0.5 + half), rel=1e-9)
        assert (kl.difference, kl.windows, kl.activations) == (pytest.approx(0.5), 2, activations)
        assert kl.found - kl.baseline == pytest.approx(0.5)


def test_a_smaller_agreement_is_worse_and_the_text_s_loss_is_the_file_s() -> None:
    new = [dataclasses.replace(w, top1_agreement=w.top1_agreement - 0.25, nll_file=w.nll_file + 2) for w in OLD]
    found = {one.metric: one.difference for one in compare(new, OLD, LIMITS)}
    assert found == pytest.approx({"kl_mean": 0.0, "top1_agreement": 0.25, "rms_logit_error": 0.0, "nll": 2.0})
    new = [dataclasses.replace(w, rms_logit_error=w.rms_logit_error + 3, nll_source=9.0) for w in OLD]
    found = {one.metric: one.difference for one in compare(new, OLD, LIMITS)}
    assert found == pytest.approx({"kl_mean": 0.0, "top1_agreement": 0.0, "rms_logit_error": 3.0, "nll": 0.0})


def test_an_interval_that_begins_at_the_limit_is_not_worse() -> None:
    found = BaselineComparison("kl_mean", "fp32", "text", 3, 1.0, 1.5, 0.5, (0.1, 1.0), 0.1)
    assert not found.worse
    assert check_baseline([found]).status == "pass"
    beyond = dataclasses.replace(found, interval=(math.nextafter(0.1, 1), 1.0))
    assert beyond.worse
    assert check_baseline([beyond]).status == "fail"
    assert check_baseline([found, beyond]).detail.startswith("kl_mean on 3 windows of text: found 1.5, 0.5 worse")


def test_the_limit_of_perplexity_is_compared_as_its_logarithm_and_never_below_1() -> None:
    for ratio, limit in ((1.5, math.log(1.5)), (1.0, 0.0), (0.5, 0.0)):
        found = compare(OLD, OLD, dataclasses.replace(LIMITS, perplexity_ratio=ratio))
        assert {one.metric: one.limit for one in found}["nll"] == limit


def test_windows_of_other_activations_are_not_compared() -> None:
    other = [dataclasses.replace(w, activations="q8") for w in OLD[:2]] + OLD[2:]
    assert {one.windows for one in compare(other, OLD, LIMITS)} == {3}
    both = [*OLD, *(dataclasses.replace(w, activations="q8") for w in OLD)]
    assert [one.activations for one in compare(both, both, LIMITS)] == ["fp32"] * 4 + ["q8"] * 4
    with pytest.raises(ValueError, match="zip"):
        compare(OLD, OLD[:-1], LIMITS)
