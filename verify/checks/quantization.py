"""Check `quantization`: logits of the file against PyTorch on the source's own weights, held against a policy."""

from __future__ import annotations

import math
from dataclasses import dataclass

from verify.checks.result import CheckResult, skipped, within
from verify.metrics import Metrics
from verify.policy import QuantizationLimits


@dataclass(frozen=True)
class _Metric:
    name: str
    observed: float
    limit: float

    @property
    def use(self) -> float:
        """Share of the limit that is used up, to choose what is shown; NaN counts as infinite."""
        share = self.observed / self.limit if self.limit else math.inf if self.observed else 0.0
        return math.inf if math.isnan(share) else share


def check_quantization(metrics: Metrics | None, limits: QuantizationLimits) -> CheckResult:
    """Every metric within its limit; the one nearest to it is the result's observed and limit."""
    if metrics is None:
        return skipped("quantization", "policy", "no logits were compared")
    judged = [
        _Metric("kl_mean", metrics.kl_mean, limits.kl_mean),
        _Metric("kl_max", metrics.kl_max, limits.kl_max),
        _Metric("top1_disagreement", 1 - metrics.top1_agreement, 1 - limits.top1_agreement),
        _Metric("max_abs_logit_error", metrics.max_abs_logit_error, limits.max_abs_logit_error),
    ]
    if metrics.perplexity_ratio is not None:
        judged.append(_Metric("perplexity_ratio", metrics.perplexity_ratio, limits.perplexity_ratio))
    # a ratio's limit is near 1 by nature, so nearness to a limit is told from the others first
    worst = max(judged, key=lambda m: (not m.observed <= m.limit, m.name != "perplexity_ratio", m.use))
    failed = [m for m in judged if not m.observed <= m.limit]
    detail = "; ".join(f"{m.name}: limit {m.limit:.4g}, found {m.observed:.4g}" for m in failed or [worst])
    where = {}
    if metrics.worst_positions:
        at = metrics.worst_positions[0]
        where = {"window": at.window, "position": at.position}
    return within("quantization", "policy", worst.observed, worst.limit, detail, where)
