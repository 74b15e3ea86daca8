"""Check `quantization`: what storage costs is within the limits of the user's policy.

The cost compares the source's logits with those on the file's weights, in one arithmetic; by int8 activations, with
those that an engine computes. Lossless storage costs exactly nothing. How much any other storage may cost is a
choice, so there is no limit unless the policy sets one.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from verify.checks.digits import beside, number
from verify.checks.metrics import Metrics
from verify.checks.policy import QuantizationLimits
from verify.checks.result import CheckResult, exact, skipped, within, without_limit

# the policy's key is top1_agreement, and limits are the largest values that pass
_DISAGREEMENT = "1 - top1_agreement"
_NAMES = {"fp32": "float32 activations", "q8": "int8 activations"}


@dataclass(frozen=True)
class LimitedMetric:
    """Holds one metric with its limit, which is the largest value that passes; None: the policy sets none."""

    name: str
    observed: float
    limit: float | None

    @property
    def fine(self) -> bool:
        """Return whether the metric is within its limit; a NaN is not."""
        return self.limit is None or self.observed <= self.limit

    @property
    def use(self) -> float:
        """Return the share of the limit that is used, to choose what is shown; a NaN counts as infinite."""
        if self.limit is None:
            return 0.0
        share = self.observed / self.limit if self.limit else math.inf if self.observed else 0.0
        return math.inf if math.isnan(share) else share


def with_limits(metrics: Metrics, limits: QuantizationLimits) -> list[LimitedMetric]:
    """Return every metric that was measured, with its limit."""
    agreement = limits.top1_agreement
    measured = [
        LimitedMetric("kl_mean", metrics.kl_mean, limits.kl_mean),
        LimitedMetric("kl_max", metrics.kl_max, limits.kl_max),
        LimitedMetric(_DISAGREEMENT, 1 - metrics.top1_agreement, None if agreement is None else 1 - agreement),
        LimitedMetric("max_abs_logit_error", metrics.max_abs_logit_error, limits.max_abs_logit_error),
    ]
    if metrics.perplexity_ratio is not None:
        measured.append(LimitedMetric("perplexity_ratio", metrics.perplexity_ratio, limits.perplexity_ratio))
    return measured


def check_quantization(
    metrics: Metrics | None, metrics_q8: Metrics | None, limits: QuantizationLimits, *, lossless: bool
) -> CheckResult:
    """Check what storage costs by float and by int8 activations, each on its own.

    metrics: None if no logits were compared. metrics_q8: None for a file without Q8_0. lossless: every tensor holds
    the source's numbers. The result's observed and limit are those of the metric nearest to its limit.
    """
    if lossless:
        return exact("quantization", 0, "every tensor holds the source's numbers: storage costs nothing")
    measured: dict[str, Metrics] = {
        kind: found for kind, found in (("fp32", metrics), ("q8", metrics_q8)) if found is not None
    }
    if not measured:
        return skipped("quantization", "policy", "no logits were compared")
    judged = [
        (kind, metric)
        for kind, found in measured.items()
        for metric in with_limits(found, limits)
        if metric.limit is not None
    ]
    if not judged:
        return _without_limits(measured)
    # a ratio is always near its limit, which is close to 1, so the other metrics are considered first
    kind, worst = max(judged, key=lambda one: (not one[1].fine, one[1].name != "perplexity_ratio", one[1].use))
    failed = [one for one in judged if not one[1].fine]
    detail = "; ".join(_describe(of, metric) for of, metric in failed or [(kind, worst)])
    assert worst.limit is not None  # of every metric in judged
    return within("quantization", "policy", worst.observed, worst.limit, detail, _where(kind, measured[kind]))


def _describe(kind: str, metric: LimitedMetric) -> str:
    found = beside(metric.observed, metric.limit)
    return f"{metric.name} by {_NAMES[kind]}: limit {number(metric.limit)}, found {found}"


def _without_limits(measured: dict[str, Metrics]) -> CheckResult:
    """Pass whatever storage costs, and state it."""
    if not all(math.isfinite(found.kl_mean) for found in measured.values()):
        return exact("quantization", 1, "kl_mean is not finite")
    costs = ", ".join(f"{number(found.kl_mean)} by {_NAMES[kind]}" for kind, found in measured.items())
    kind, worst = max(measured.items(), key=lambda one: one[1].kl_mean)
    detail = f"kl_mean: {costs}; no limits: the policy sets none"
    return without_limit("quantization", "policy", worst.kl_mean, detail, _where(kind, worst))


def _where(kind: str, metrics: Metrics) -> dict[str, object]:
    """Return the position that costs most."""
    if not metrics.worst_positions:
        return {"activations": kind}
    at = metrics.worst_positions[0]
    return {"activations": kind, "window": at.window, "position": at.position}
