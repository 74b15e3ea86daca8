"""The last release as baseline: whether its report can be compared with today's, and the comparison."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Mapping, Sequence

from verify.checks.baseline import check_baseline, compare
from verify.checks.metrics import WindowMetrics, digest_of
from verify.errors import CannotJudgeError
from verify.evidence import Window
from verify.report.document import plain
from verify.report.findings import Baseline
from verify.report.model import Report
from verify.report.saved import SavedReport
from verify.sources import Source


def check_comparable(earlier: SavedReport, source: Source, windows: Sequence[Window]) -> None:
    """Raise CannotJudgeError unless the earlier report is about a release of the same source on the same windows."""
    _check_source(earlier, source.files)
    _check_windows(earlier, [(window.origin, digest_of(window.tokens)) for window in windows])


def with_baseline(report: Report, earlier: SavedReport) -> Report:
    """Return the report with the check `baseline` added. Raises CannotJudgeError if the two cannot be compared."""
    _check_source(earlier, report.source["sha256"])
    if report.windows:
        windows = [(w.origin, w.tokens_sha256) for w in report.windows if w.activations == "fp32"]
        _check_windows(earlier, windows)
    new, old = _alike(report, earlier.report)
    comparisons = compare(new, old, report.policy.baseline)
    return dataclasses.replace(
        report,
        checks=(*(check for check in report.checks if check.name != "baseline"), check_baseline(comparisons)),
        baseline=Baseline(
            path=str(earlier.path),
            sha256=earlier.sha256,
            file=earlier.report.file,
            comparisons=comparisons,
        ),
    )


def _alike(report: Report, earlier: Report) -> tuple[list[WindowMetrics], list[WindowMetrics]]:
    """Keep the windows of the activations that both have: a Q8_0 file may follow a float32 file."""
    both = {w.activations for w in report.windows} & {w.activations for w in earlier.windows}
    new, old = ([w for w in r.windows if w.activations in both] for r in (report, earlier))
    return new, old


def _check_source(saved: SavedReport, files: Mapping[str, str]) -> None:
    path, earlier = saved.path, saved.report
    if not earlier.passed:
        raise CannotJudgeError(f"{path}: verdict: expected pass, as of a release, found {earlier.verdict}")
    if not _same_files(earlier.source["sha256"], files):
        raise CannotJudgeError(
            f"{path}: source: expected a report about this source, found one about {earlier.source['path']} with "
            "other digests or names"
        )


def _same_files(before: Mapping[str, str], now: Mapping[str, str]) -> bool:
    """Compare by name and digest: two shards that swap names make another model. A single file may be renamed."""
    if len(before) == len(now) == 1:
        return list(before.values()) == list(now.values())
    named: dict[str, str] = plain(now)
    return before == named


def _check_windows(saved: SavedReport, windows: Sequence[tuple[str, str]]) -> None:
    path, earlier = saved.path, saved.report
    sampled = Counter(origin for origin, _digest in windows if origin != "fixed")
    most = max(sampled.values(), default=0)
    if most < 2:
        raise CannotJudgeError(
            f"{path}: windows: expected at least 2 of one origin, to separate a difference from chance, found "
            f"{most}: give more --windows"
        )
    before = [(w.origin, w.tokens_sha256) for w in earlier.windows if w.activations == "fp32"]
    if before != list(windows):
        raise CannotJudgeError(
            f"{path}: windows: expected the same tokens as today's (by text, tokens, windows, length, seed, depth "
            f"and memory), found {_count(before)} against {_count(windows)}, {_shared(before, windows)} of them the "
            "same"
        )


def _count(windows: Sequence[tuple[str, str]]) -> str:
    counts = Counter(origin for origin, _digest in windows)
    return " and ".join(f"{number} of {origin}" for origin, number in counts.items()) or "none"


def _shared(before: Sequence[tuple[str, str]], windows: Sequence[tuple[str, str]]) -> int:
    return sum((Counter(before) & Counter(windows)).values())
