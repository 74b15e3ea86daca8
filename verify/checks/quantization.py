"""Check `quantization`: logits of the file against PyTorch on the source's own weights, held against a policy."""

from __future__ import annotations

import math
from dataclasses import dataclass

from verify.checks.metrics import Metrics
from verify.checks.policy import QuantizationLimits
from verify.checks.result import CheckResult, skipped, within


@dataclass(frozen=True)
class Judged:
    """One metric against its limit, which is the most that passes."""

    name: str
    observed: float
    limit: float

    @property
    def fine(self) -> bool:
        """A NaN is not."""
        return self.observed <= self.limit

    @property
    def use(self) -> float:
        """Share of the limit that is used up, to choose what is shown; NaN counts as infinite."""
        share = self.observed / self.limit if self.limit else math.inf if self.observed else 0.0
        return math.inf if math.isnan(share) else share


def against_limits(metrics: Metrics, limits: QuantizationLimits) -> list[Judged]:
    """Every metric that the policy has a limit for and that could be measured."""
    judged = [
        Judged("kl_mean", metrics.kl_mean, limits.kl_mean),
        Judged("kl_max", metrics.kl_max, limits.kl_max),
        Judged("top1_disagreement", 1 - metrics.top1_agreement, 1 - limits.top1_agreement),
        Judged("max_abs_logit_error", metrics.max_abs_logit_error, limits.max_abs_logit_error),
    ]
    if metrics.perplexity_ratio is not None:
        judged.append(Judged("perplexity_ratio", metrics.perplexity_ratio, limits.perplexity_ratio))
    return judged


def check_quantization(metrics: Metrics | None, limits: QuantizationLimits) -> CheckResult:
    """Every metric within its limit; the one nearest to it is the result's observed and limit."""
    if metrics is None:
        return skipped("quantization", "policy", "no logits were compared")
    judged = against_limits(metrics, limits)
    # a ratio's limit is near 1 by nature, so nearness to a limit is told from the others first
    worst = max(judged, key=lambda m: (not m.fine, m.name != "perplexity_ratio", m.use))
    failed = [m for m in judged if not m.fine]
    detail = "; ".join(f"{m.name}: limit {m.limit:.4g}, found {m.observed:.4g}" for m in failed or [worst])
    where = {}
    if metrics.worst_positions:
        at = metrics.worst_positions[0]
        where = {"window": at.window, "position": at.position}
    return within("quantization", "policy", worst.observed, worst.limit, detail, where)
