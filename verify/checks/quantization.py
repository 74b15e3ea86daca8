"""Check `quantization`: the file's logits differ from PyTorch's on the source's weights within the policy's
limits."""

from __future__ import annotations

import math
from dataclasses import dataclass

from verify.checks.digits import beside, number
from verify.checks.metrics import Metrics
from verify.checks.policy import QuantizationLimits
from verify.checks.result import CheckResult, skipped, within


@dataclass(frozen=True)
class LimitedMetric:
    """Holds one metric with its limit, which is the largest value that passes."""

    name: str
    observed: float
    limit: float

    @property
    def fine(self) -> bool:
        """Return whether the metric is within its limit; a NaN is not."""
        return self.observed <= self.limit

    @property
    def use(self) -> float:
        """Return the share of the limit that is used, to choose what is shown; a NaN counts as infinite."""
        share = self.observed / self.limit if self.limit else math.inf if self.observed else 0.0
        return math.inf if math.isnan(share) else share


def against_limits(metrics: Metrics, limits: QuantizationLimits) -> list[LimitedMetric]:
    """Return every metric that was measured and that the policy limits."""
    judged = [
        LimitedMetric("kl_mean", metrics.kl_mean, limits.kl_mean),
        LimitedMetric("kl_max", metrics.kl_max, limits.kl_max),
        LimitedMetric("top1_disagreement", 1 - metrics.top1_agreement, 1 - limits.top1_agreement),
        LimitedMetric("max_abs_logit_error", metrics.max_abs_logit_error, limits.max_abs_logit_error),
    ]
    if metrics.perplexity_ratio is not None:
        judged.append(LimitedMetric("perplexity_ratio", metrics.perplexity_ratio, limits.perplexity_ratio))
    return judged


def check_quantization(metrics: Metrics | None, limits: QuantizationLimits) -> CheckResult:
    """Check every metric; the result's observed and limit are those of the metric nearest to its limit."""
    if metrics is None:
        return skipped("quantization", "policy", "no logits were compared")
    judged = against_limits(metrics, limits)
    # a ratio is always near its limit, which is close to 1, so the other metrics are considered first
    worst = max(judged, key=lambda m: (not m.fine, m.name != "perplexity_ratio", m.use))
    failed = [m for m in judged if not m.fine]
    detail = "; ".join(
        f"{m.name}: limit {number(m.limit)}, found {beside(m.observed, m.limit)}" for m in failed or [worst]
    )
    where = {}
    if metrics.worst_positions:
        at = metrics.worst_positions[0]
        where = {"window": at.window, "position": at.position}
    return within("quantization", "policy", worst.observed, worst.limit, detail, where)
