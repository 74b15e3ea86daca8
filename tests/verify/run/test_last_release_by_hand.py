"""What can be compared with the last release, to the word. Quick, because no report is read or judged by chance."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from helpers.reports import DIGEST, failing, passing, window, without_logits

from verify.checks.metrics import WindowMetrics, digest_of
from verify.checks.result import exact
from verify.errors import CannotJudgeError
from verify.evidence import Window
from verify.report.model import Report
from verify.report.saved import SavedReport
from verify.run.last_release import check_comparable, with_baseline

PATH = Path("earlier.json")
TOKENS = [np.arange(3) + number for number in range(4)]


def earlier(*windows: WindowMetrics, **files: str) -> SavedReport:
    source = {**passing().source, "sha256": files or {"model.pt": DIGEST}}
    report = dataclasses.replace(passing(), source=source, windows=windows or passing().windows)
    return SavedReport(PATH, DIGEST, report)


def reported(*origins: str, activations: str = "fp32") -> tuple[WindowMetrics, ...]:
    return tuple(
        window(number, origin, activations, tokens_sha256=digest_of(TOKENS[number]))
        for number, origin in enumerate(origins)
    )


def expect_comparable(saved: SavedReport, *origins: str, **files: str) -> None:
    source: Any = SimpleNamespace(files=files or {"model.pt": DIGEST})
    check_comparable(saved, source, [Window(TOKENS[number], origin) for number, origin in enumerate(origins)])


def refusal(saved: SavedReport, *origins: str, **files: str) -> str:
    with pytest.raises(CannotJudgeError) as caught:
        expect_comparable(saved, *origins, **files)
    return str(caught.value)


def test_the_same_windows_of_the_same_source_can_be_compared() -> None:
    for origins in (("text", "text"), ("random", "random", "fixed"), ("text", "random", "random", "fixed")):
        expect_comparable(earlier(*reported(*origins)), *origins)
        # those of int8 activations have the same tokens
        both = (*reported(*origins), *reported(*origins, activations="q8"))
        expect_comparable(earlier(*both), *origins)


@pytest.mark.parametrize("origins", [("text", "random", "fixed", "fixed"), ("random",), ("text", "fixed")])
def test_two_windows_of_one_origin_are_needed(origins: tuple[str, ...]) -> None:
    assert refusal(earlier(*reported(*origins)), *origins) == (
        "earlier.json: windows: expected at least 2 of one origin, to separate a difference from chance, "
        "found 1: give more --windows"
    )


def test_only_fixed_windows_are_no_sample_at_all() -> None:
    assert refusal(earlier(*reported("fixed", "fixed")), "fixed", "fixed") == (
        "earlier.json: windows: expected at least 2 of one origin, to separate a difference from chance, "
        "found 0: give more --windows"
    )


@pytest.mark.parametrize(
    ("before", "now", "found"),
    [
        (("text", "text"), ("text", "text", "fixed"), "2 of text against 2 of text and 1 of fixed, 2 of them"),
        (("text", "text", "fixed"), ("text", "text"), "2 of text and 1 of fixed against 2 of text, 2 of them"),
        (("text", "random"), ("text", "text"), "1 of text and 1 of random against 2 of text, 1 of them"),
        (("random", "random"), ("text", "text"), "2 of random against 2 of text, 0 of them"),
    ],
)
def test_other_windows_are_counted(before: tuple[str, ...], now: tuple[str, ...], found: str) -> None:
    assert refusal(earlier(*reported(*before)), *now) == (
        "earlier.json: windows: expected the same tokens as today's (by text, tokens, windows, length, seed, depth "
        f"and memory), found {found} the same"
    )


def test_windows_in_another_order_or_only_of_int8_activations_are_others() -> None:
    swapped = reported("text", "text")[::-1]
    assert refusal(earlier(*swapped), "text", "text").endswith(
        "found 2 of text against 2 of text, 2 of them the same"
    )
    q8 = reported("text", "text", activations="q8")
    assert refusal(earlier(*q8), "text", "text").endswith("found none against 2 of text, 0 of them the same")


def test_only_a_release_that_passed_is_a_baseline() -> None:
    saved = SavedReport(PATH, DIGEST, failing())
    assert refusal(saved, "text", "text") == "earlier.json: verdict: expected pass, as of a release, found fail"


ONE, TWO = {"a": "1"}, {"a": "1", "b": "2"}


@pytest.mark.parametrize(
    ("before", "now", "same"),
    [
        (ONE, ONE, True),
        (ONE, {"renamed": "1"}, True),
        (ONE, {"a": "2"}, False),
        (TWO, TWO, True),
        (TWO, {"a": "2", "b": "1"}, False),
        (TWO, {"a": "1", "c": "2"}, False),
        (TWO, ONE, False),
        (ONE, TWO, False),
        ({"a": "1", "b": "1"}, ONE, False),
    ],
)
def test_a_source_is_the_same_by_names_and_digests(before: dict[str, str], now: dict[str, str], same: bool) -> None:
    saved = earlier(*reported("text", "text"), **before)
    if same:
        expect_comparable(saved, "text", "text", **now)
        return
    assert refusal(saved, "text", "text", **now) == (
        "earlier.json: source: expected a report about this source, found one about model.pt with "
        "other digests or names"
    )


def today(**changes: Any) -> Report:
    return dataclasses.replace(passing(), **changes)


def test_the_baseline_comes_last_and_replaces_one_before() -> None:
    saved = SavedReport(PATH, "e" * 64, passing())
    once = with_baseline(passing(), saved)
    stale = dataclasses.replace(once, checks=(exact("baseline", 1, "stale"), *once.checks))
    for report in (once, with_baseline(once, saved), with_baseline(stale, saved)):
        assert [check.name for check in report.checks] == [*(check.name for check in passing().checks), "baseline"]
        assert report.checks[:-1] == passing().checks
        assert report.checks[-1].status == "pass"
        assert report.baseline is not None
        assert (report.baseline.path, report.baseline.sha256) == ("earlier.json", "e" * 64)
        assert report.baseline.file == passing().file
        assert len(report.baseline.comparisons) == 14


def test_only_the_windows_of_float_activations_tell_whether_tokens_are_the_same() -> None:
    saved = SavedReport(PATH, DIGEST, passing())
    others = tuple(
        dataclasses.replace(w, tokens_sha256="e" * 64) if w.activations == "q8" else w for w in passing().windows
    )
    assert with_baseline(today(windows=others), saved).checks[-1].status == "pass"
    changed = tuple(
        dataclasses.replace(w, tokens_sha256="e" * 64) if w.activations == "fp32" else w for w in passing().windows
    )
    with pytest.raises(CannotJudgeError, match="expected the same tokens as today's"):
        with_baseline(today(windows=changed), saved)


@pytest.mark.parametrize("side", ["new", "old"])
def test_activations_of_one_side_alone_are_not_compared(side: str) -> None:
    floats = today(windows=tuple(w for w in passing().windows if w.activations == "fp32"))
    new, old = (floats, passing()) if side == "new" else (passing(), floats)
    found = with_baseline(new, SavedReport(PATH, DIGEST, old)).baseline
    assert found is not None
    assert [one.activations for one in found.comparisons] == ["fp32"] * 7


def test_without_windows_nothing_is_compared_and_another_source_is_refused_all_the_same() -> None:
    saved = SavedReport(PATH, DIGEST, passing())
    assert with_baseline(without_logits(passing()), saved).checks[-1].status == "skipped"
    other = dataclasses.replace(without_logits(passing()), source={**passing().source, "sha256": {"a": "e" * 64}})
    with pytest.raises(CannotJudgeError, match="expected a report about this source"):
        with_baseline(other, saved)
