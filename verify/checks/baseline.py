"""Check `baseline`: is the file worse than the last release, by more than chance explains?

Both were judged on the same windows of tokens, so each window's figures are compared with its own earlier ones, and
what the windows differ by among themselves does not count. The mean of the differences has a confidence interval by
Student's t; worse is what lies, with the whole of its interval, beyond what the policy lets pass. All intervals hold
together with 95 % (Bonferroni), so that the number of figures does not make false alarms.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import groupby

import numpy as np

from verify.checks.metrics import CONFIDENCE, WindowMetrics
from verify.checks.policy import BaselineLimits
from verify.checks.result import CheckResult, skipped, within


@dataclass(frozen=True)
class Comparison:
    """One figure over the windows of one origin. difference: how much worse, in the mean over windows, with its
    interval; limit: what the policy lets pass of it. Perplexity is compared as nats a token, `nll`."""

    metric: str
    activations: str
    origin: str
    windows: int
    baseline: float
    found: float
    difference: float
    interval: tuple[float, float]
    limit: float

    @property
    def worse(self) -> bool:
        """A NaN counts as worse."""
        return not self.interval[0] <= self.limit


@dataclass(frozen=True)
class _Figure:
    """worse_by: of (found, baseline)."""

    metric: str
    of: Callable[[WindowMetrics], float]
    sign: int
    limit: float
    only_text: bool = False


def _figures(limits: BaselineLimits) -> tuple[_Figure, ...]:
    return (
        _Figure("kl_mean", lambda w: w.kl_mean, 1, limits.kl_mean),
        _Figure("top1_agreement", lambda w: w.top1_agreement, -1, limits.top1_agreement),
        _Figure("rms_logit_error", lambda w: w.rms_logit_error, 1, limits.rms_logit_error),
        _Figure("nll", lambda w: w.nll_file, 1, math.log(max(limits.perplexity_ratio, 1.0)), only_text=True),
    )


def compare(
    windows: Sequence[WindowMetrics], baseline: Sequence[WindowMetrics], limits: BaselineLimits
) -> tuple[Comparison, ...]:
    """Every figure, by activations and origin of the windows. The fixed windows are left out: they are no sample of
    anything. Both sequences hold the same windows in one order (check that before)."""
    pairs = [
        (new, old)
        for new, old in zip(windows, baseline, strict=True)
        if new.origin != "fixed" and new.activations == old.activations
    ]
    found: list[tuple[_Figure, list[tuple[WindowMetrics, WindowMetrics]]]] = []
    kinds = sorted(pairs, key=lambda pair: (pair[0].activations, pair[0].origin))
    for _kind, group in groupby(kinds, key=lambda pair: (pair[0].activations, pair[0].origin)):
        members = list(group)
        # one window has no spread to tell chance from
        if len(members) > 1:
            text = members[0][0].origin in ("text", "tokens")
            found += [(figure, members) for figure in _figures(limits) if text or not figure.only_text]
    return tuple(_compare(figure, members, len(found)) for figure, members in found)


def _compare(figure: _Figure, pairs: list[tuple[WindowMetrics, WindowMetrics]], of: int) -> Comparison:
    """of: how many comparisons share the confidence."""
    from scipy.stats import t  # noqa: PLC0415  # heavy, and only needed here

    new, old = (np.array([figure.of(pair[side]) for pair in pairs]) for side in (0, 1))
    worse = figure.sign * (new - old)
    mean, count = float(worse.mean()), len(worse)
    half = float(t.ppf(1 - (1 - CONFIDENCE) / (2 * of), count - 1) * worse.std(ddof=1) / math.sqrt(count))
    return Comparison(
        metric=figure.metric,
        activations=pairs[0][0].activations,
        origin=pairs[0][0].origin,
        windows=count,
        baseline=float(old.mean()),
        found=float(new.mean()),
        difference=mean,
        interval=(mean - half, mean + half),
        limit=figure.limit,
    )


def under(limits: BaselineLimits, comparisons: Sequence[Comparison]) -> tuple[Comparison, ...]:
    """The same comparisons under other limits."""
    limit = {figure.metric: figure.limit for figure in _figures(limits)}
    return tuple(replace(comparison, limit=limit[comparison.metric]) for comparison in comparisons)


def check_baseline(comparisons: Sequence[Comparison]) -> CheckResult:
    """observed is the lower end of the interval of what is worst, by its own limit."""
    if not comparisons:
        return skipped("baseline", "statistical", "no window of logits was there to compare")
    worst = max(comparisons, key=_urgency)
    failed = sum(comparison.worse for comparison in comparisons)
    detail = describe(worst)
    if not failed:
        detail = f"none of {len(comparisons)} figures is worse than chance explains; nearest to it: {detail}"
    elif failed > 1:
        detail += f"; {failed - 1} of {len(comparisons) - 1} other figures {'are' if failed > 2 else 'is'} worse too"
    where = {key: asdict(worst)[key] for key in ("metric", "activations", "origin", "difference")}
    return within("baseline", "statistical", worst.interval[0], worst.limit, detail, where)


def _urgency(comparison: Comparison) -> tuple[bool, float]:
    """Beyond its limit first; then by how far the interval reaches beyond it, in parts of the baseline's figure."""
    beyond = comparison.interval[0] - comparison.limit
    share = beyond / abs(comparison.baseline) if comparison.baseline else math.copysign(math.inf, beyond)
    return comparison.worse, math.inf if math.isnan(share) else share


def describe(comparison: Comparison) -> str:
    """By how much, in one clause."""
    low, high = comparison.interval
    direction = "worse" if comparison.difference > 0 else "better"
    how = f"{abs(comparison.difference):.4g} {direction} than" if comparison.difference else "the same as"
    int8 = ", int8 activations" if comparison.activations == "q8" else ""
    return (
        f"{comparison.metric} on {comparison.windows} windows of {comparison.origin}{int8}: found "
        f"{comparison.found:.4g}, {how} the baseline's {comparison.baseline:.4g} "
        f"(worse by {low:.3g} to {high:.3g}, limit {comparison.limit:.3g})"
    )
