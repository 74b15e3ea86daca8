"""A file is worse than its baseline only where the whole interval is beyond the limit."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest
from helpers.reports import window

from verify.checks.baseline import BaselineComparison, check_baseline, compare, describe, under
from verify.checks.metrics import WindowMetrics
from verify.checks.policy import DEFAULT_POLICY, BaselineLimits, load_policy

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


def figure(metric: str, low: float, limit: float = 0.0, baseline: float = 1.0) -> BaselineComparison:
    """One whose interval begins at `low` and is 2 wide."""
    return BaselineComparison(metric, "fp32", "text", 3, baseline, baseline + 1, low + 1, (low, low + 2), limit)


def shown(*figures: BaselineComparison) -> object:
    return check_baseline(figures).where["metric"]


def test_the_figure_furthest_beyond_its_limit_is_shown() -> None:
    """Relative to the baseline's figure; those that are worse come first, and NaN before all numbers."""
    near, far, below = figure("near", 0.1), figure("far", 0.2), figure("below", -0.2)
    assert shown(near, far, below) == shown(far, below, near) == "far"
    assert shown(below, figure("lower", -0.3)) == "below"
    assert shown(far, figure("of a larger figure", 0.3, baseline=10.0)) == "far"
    assert shown(far, figure("of a larger figure below 0", 0.3, baseline=-10.0)) == "far"
    assert shown(figure("above another limit", 0.5, limit=0.45), near) == "near"
    assert shown(far, figure("from 0", 1e-9, baseline=0.0)) == "from 0"
    assert shown(below, figure("from 0", -1e-9, baseline=0.0)) == "below"
    assert shown(far, figure("no number", math.nan), below) == "no number"


def test_a_worse_figure_is_shown_before_any_that_is_not() -> None:
    """Even if its share is minus infinity, as that of a NaN beside a baseline of 0 may be."""
    wrong = figure("no number", -math.nan, baseline=0.0)
    assert wrong.worse
    assert shown(figure("fine", -0.1), wrong) == shown(wrong, figure("fine", -0.1)) == "no number"


@pytest.mark.parametrize(
    ("worse", "end"),
    [
        (1, "limit 0)"),
        (2, "; 1 of 3 other figures is also worse"),
        (3, "; 2 of 3 other figures are also worse"),
        (4, "; 3 of 3 other figures are also worse"),
    ],
)
def test_the_others_that_are_worse_are_counted(worse: int, end: str) -> None:
    figures = [figure(str(number), 0.5 if number < worse else -0.5) for number in range(4)]
    assert check_baseline(figures).detail.endswith(end)
    assert check_baseline(figures[:2]).detail.endswith("; 1 of 1 other figure is also worse") == (worse > 1)


def test_a_figure_is_described_in_one_clause() -> None:
    found = BaselineComparison("nll", "fp32", "text", 12, 2.0, 2.123456, 0.123456, (0.0912345, 0.1556789), 0.02)
    assert describe(found) == (
        "nll on 12 windows of text: found 2.123, 0.1235 worse than the baseline's 2 (worse by 0.0912 to 0.156, "
        "limit 0.02)"
    )
    check = check_baseline([found])
    assert (check.status, check.observed, check.limit, check.detail) == ("fail", 0.0912345, 0.02, describe(found))
    assert check.where == {"metric": "nll", "activations": "fp32", "origin": "text", "difference": 0.123456}


def test_text_is_compared_by_its_loss_whether_given_as_text_or_as_tokens() -> None:
    for origin, count in (("text", 4), ("tokens", 4), ("random", 3)):
        windows = [window(number, origin) for number in range(3)]
        found = compare(windows, windows, LIMITS)
        assert len(found) == count
        assert {(one.origin, one.windows) for one in found} == {(origin, 3)}


def test_the_limits_are_the_policy_s() -> None:
    limits = BaselineLimits(kl_mean=0.1, top1_agreement=0.2, rms_logit_error=0.3, perplexity_ratio=math.e)
    expected = {"kl_mean": 0.1, "top1_agreement": 0.2, "rms_logit_error": 0.3, "nll": 1.0}
    found = compare(OLD, OLD, limits)
    assert {one.metric: one.limit for one in found} == expected
    assert {one.metric: one.limit for one in under(limits, compare(OLD, OLD, LIMITS))} == expected
