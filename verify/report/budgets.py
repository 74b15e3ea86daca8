"""What of each limit is used up, for bars. Whether a limit holds is the checks' own word."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

from verify.checks.metrics import Metrics
from verify.checks.policy import QuantizationLimits
from verify.checks.quantization import against_limits
from verify.checks.result import CheckResult
from verify.report.words import beside, number


@dataclass(frozen=True)
class Use:
    """One bar: percent of it is filled; beyond: how many times the limit was found, where it did not hold."""

    label: str
    observed: str
    limit: str
    percent: float
    fine: bool
    beyond: str = ""
    interval: str = ""


def use_of(check: CheckResult, label: str = "") -> Use | None:
    """Of a check with a limit; None where nothing is tolerated or nothing was found."""
    if check.observed is None or not check.limit:
        return None
    return _use(label or check.name, check.observed, check.limit, fine=check.status != "fail")


_LABELS = {
    "kl_mean": "mean KL, nats",
    "kl_max": "largest KL, nats",
    "top1_disagreement": "top-1 changed",
    "max_abs_logit_error": "largest logit error",
    "perplexity_ratio": "perplexity ratio",
}


def uses_of_format(metrics: Metrics, limits: QuantizationLimits) -> Iterator[Use]:
    """One for each of the policy's limits, with the intervals that there are."""
    intervals = {"kl_mean": metrics.kl_mean_ci, "perplexity_ratio": metrics.perplexity_ratio_ci}
    for judged in against_limits(metrics, limits):
        # a ratio of 1 costs nothing
        free = 1.0 if judged.name == "perplexity_ratio" else 0.0
        interval = intervals.get(judged.name)
        use = _use(_LABELS[judged.name], judged.observed, judged.limit, fine=judged.fine, free=free)
        shown = "" if interval is None else f"95 %: {number(interval[0])} to {number(interval[1])}"
        yield Use(use.label, use.observed, use.limit, use.percent, use.fine, use.beyond, shown)


def percent(part: float | None, whole: float | None) -> float:
    """0 to 100, for the width of a bar; what is not finite fills it."""
    if part is None or not whole:
        return 0.0 if not part else 100.0
    share = 100.0 * part / whole
    return 100.0 if math.isnan(share) else round(min(max(share, 0.0), 100.0), 2)


def _use(label: str, observed: float, limit: float, *, fine: bool, free: float = 0.0) -> Use:
    times = observed / limit if limit else math.inf
    return Use(
        label=label,
        observed=beside(observed, limit),
        limit=number(limit),
        percent=percent(observed - free, limit - free) if fine else 100.0,
        fine=fine,
        beyond="" if fine else f"{number(times)} times the limit" if math.isfinite(times) else "beyond any limit",
    )
