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
