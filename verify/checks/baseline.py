"""Check `baseline`: is the file worse than the last release, by more than chance explains?

Both files were judged on the same windows of tokens, so the figures of each window are compared with its own earlier
figures, and differences between windows have no effect. The mean difference has a confidence interval by Student's t.
A figure is worse if the whole interval is beyond the policy's limit. All intervals together hold with 95 % confidence
(Bonferroni), so that many figures do not cause false alarms.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import groupby

import numpy as np

from verify.checks.digits import counted
from verify.checks.metrics import CONFIDENCE, WindowMetrics
from verify.checks.policy import BaselineLimits
from verify.checks.result import CheckResult, skipped, within


@dataclass(frozen=True)
class BaselineComparison:
    """Compares one figure over the windows of one origin with the baseline.

    difference: how much worse the mean over windows is, with its interval. limit: how much worse the policy allows.
    Perplexity is compared as nats per token, `nll`.
    """

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
        """Return whether the whole interval is beyond the limit; a NaN counts as worse."""
        return not self.interval[0] <= self.limit


@dataclass(frozen=True)
class _Figure:
    """Describes a figure to compare. sign: 1 if larger is worse, -1 if smaller is. only_text: compared only on
    text."""

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
) -> tuple[BaselineComparison, ...]:
    """Compare every figure, by activations and origin of the windows.

    Fixed windows are skipped, because they are not a sample. Both sequences must hold the same windows in the same
    order.
    """
    pairs = [
        (new, old)
        for new, old in zip(windows, baseline, strict=True)
        if new.origin != "fixed" and new.activations == old.activations
    ]
    found: list[tuple[_Figure, list[tuple[WindowMetrics, WindowMetrics]]]] = []
    kinds = sorted(pairs, key=lambda pair: (pair[0].activations, pair[0].origin))
    for _kind, group in groupby(kinds, key=lambda pair: (pair[0].activations, pair[0].origin)):
        members = list(group)
        # one window has no spread from which chance could be estimated
        if len(members) > 1:
            text = members[0][0].origin in ("text", "tokens")
            found += [(figure, members) for figure in _figures(limits) if text or not figure.only_text]
    return tuple(_compare(figure, members, len(found)) for figure, members in found)


def _compare(figure: _Figure, pairs: list[tuple[WindowMetrics, WindowMetrics]], of: int) -> BaselineComparison:
    """Compare one figure. of: how many comparisons share the confidence."""
    from scipy.stats import t  # noqa: PLC0415  # heavy, and only needed here

    new, old = (np.array([figure.of(pair[side]) for pair in pairs]) for side in (0, 1))
    worse = figure.sign * (new - old)
    mean, count = float(worse.mean()), len(worse)
    half = float(t.ppf(1 - (1 - CONFIDENCE) / (2 * of), count - 1) * worse.std(ddof=1) / math.sqrt(count))
    return BaselineComparison(
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


def under(limits: BaselineLimits, comparisons: Sequence[BaselineComparison]) -> tuple[BaselineComparison, ...]:
    """Return the same comparisons with other limits."""
    limit = {figure.metric: figure.limit for figure in _figures(limits)}
    return tuple(replace(comparison, limit=limit[comparison.metric]) for comparison in comparisons)


def check_baseline(comparisons: Sequence[BaselineComparison]) -> CheckResult:
    """Judge the comparisons. observed: the lower end of the worst figure's interval, beside that figure's limit."""
    if not comparisons:
        return skipped("baseline", "statistical", "no windows with logits could be compared")
    worst = max(comparisons, key=_urgency)
    failed = sum(comparison.worse for comparison in comparisons)
    detail = describe(worst)
    if not failed:
        detail = f"none of {counted(len(comparisons), 'figure')} is worse than chance explains; the nearest: {detail}"
    elif failed > 1:
        others = counted(len(comparisons) - 1, "other figure")
        detail += f"; {failed - 1} of {others} {'are' if failed > 2 else 'is'} also worse"
    where = {key: asdict(worst)[key] for key in ("metric", "activations", "origin", "difference")}
    return within("baseline", "statistical", worst.interval[0], worst.limit, detail, where)


def _urgency(comparison: BaselineComparison) -> tuple[bool, float]:
    """Rank figures beyond their limit first, then by how far, relative to the baseline's figure."""
    beyond = comparison.interval[0] - comparison.limit
    share = beyond / abs(comparison.baseline) if comparison.baseline else math.copysign(math.inf, beyond)
    return comparison.worse, math.inf if math.isnan(share) else share


def describe(comparison: BaselineComparison) -> str:
    """Say in one clause by how much a figure differs."""
    low, high = comparison.interval
    direction = "worse" if comparison.difference > 0 else "better"
    how = f"{abs(comparison.difference):.4g} {direction} than" if comparison.difference else "the same as"
    int8 = ", int8 activations" if comparison.activations == "q8" else ""
    return (
        f"{comparison.metric} on {comparison.windows} windows of {comparison.origin}{int8}: found "
        f"{comparison.found:.4g}, {how} the baseline's {comparison.baseline:.4g} "
        f"(worse by {low:.3g} to {high:.3g}, limit {comparison.limit:.3g})"
    )
