"""Compute how much of each limit is used, for bars. Only the checks decide whether a limit holds."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator
from dataclasses import dataclass

from verify.checks.digits import beside, number
from verify.checks.metrics import Metrics
from verify.checks.policy import QuantizationLimits
from verify.checks.quantization import with_limits
from verify.checks.result import CheckResult


@dataclass(frozen=True)
class Use:
    """Describes one bar.

    percent: how much of it is filled. share: the same in words. beyond: how many times the limit was found, if it did
    not hold. interval: of what was observed. limit: "none" for a metric that the policy does not limit, which has no
    bar.
    """

    label: str
    observed: str
    limit: str
    percent: float
    share: str
    fine: bool
    beyond: str = ""
    interval: str = ""


def use_of(check: CheckResult, label: str = "") -> Use | None:
    """Return the use of a check's limit; None if the limit is 0 or nothing was measured."""
    if check.observed is None or not check.limit:
        return None
    return _use(label or check.name, check.observed, check.limit, fine=check.status != "fail")


NO_LIMIT = "none"

_LABELS = {
    "kl_mean": "mean KL, nats",
    "kl_max": "largest KL, nats",
    "1 - top1_agreement": "top-1 changed",
    "max_abs_logit_error": "largest logit error",
    "perplexity_ratio": "perplexity ratio",
}


def uses_of_format(metrics: Metrics, limits: QuantizationLimits) -> Iterator[Use]:
    """Yield each metric with the use of its limit, if it has one, and the interval, if one was computed."""
    intervals = {"kl_mean": metrics.kl_mean_ci, "perplexity_ratio": metrics.perplexity_ratio_ci}
    for judged in with_limits(metrics, limits):
        # a ratio of 1 costs nothing
        free = 1.0 if judged.name == "perplexity_ratio" else 0.0
        interval = intervals.get(judged.name)
        label = _LABELS[judged.name]
        if judged.limit is None:
            use = Use(label, beside(judged.observed, free), NO_LIMIT, percent=0.0, share="", fine=True)
        else:
            use = _use(label, judged.observed, judged.limit, fine=judged.fine, free=free)
        shown = "" if interval is None else f"95 %: {number(interval[0])} to {number(interval[1])}"
        yield dataclasses.replace(use, interval=shown)


def percent(part: float | None, whole: float | None) -> float:
    """Return 0 to 100 for the width of a bar; a share that is not finite fills it."""
    if part is None or not whole:
        return 0.0 if not part else 100.0
    share = 100.0 * (part / whole)
    return 100.0 if math.isnan(share) else round(min(max(share, 0.0), 100.0), 2)


def _use(label: str, observed: float, limit: float, *, fine: bool, free: float = 0.0) -> Use:
    times = observed / limit if limit else math.inf
    return Use(
        label=label,
        observed=max(beside(observed, limit), beside(observed, free), key=len),
        limit=number(limit),
        percent=percent(observed - free, limit - free) if fine else 100.0,
        share=_in_words(observed - free, limit - free),
        fine=fine,
        beyond=""
        if fine
        else f"{beside(times, 1.0)} times the limit"
        if math.isfinite(times)
        else "beyond any limit",
    )


def _in_words(part: float, whole: float) -> str:
    """Write the share in percent; only a part that equals the whole reads 100 %."""
    text = f"{percent(part, whole):.3g}"
    if text == "100" and whole and 0 < part < whole:
        text = beside(100.0 * (part / whole), 100.0, digits=3)
    return f"{text} %"
