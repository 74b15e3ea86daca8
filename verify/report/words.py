"""Numbers and metrics as words, alike in every rendering."""

from __future__ import annotations

from verify.checks.metrics import Metrics


def number(value: float | None) -> str:
    return "-" if value is None else f"{value:.4g}"


def beside(value: float | None, limit: float | None) -> str:
    """A number that stands beside its limit: with as many digits as it takes to tell the two apart."""
    if value is None or limit is None or value == limit:
        return number(value)
    digits = (f"{value:.{count}g}" for count in range(4, 18))
    return next((text for text in digits if text != number(limit)), number(value))


def describe(metrics: Metrics) -> str:
    """One line of metrics, with what they were taken over."""
    words = [
        f"{metrics.positions} positions",
        f"KL mean {metrics.kl_mean:.3g}{_interval(metrics.kl_mean_ci)}, max {metrics.kl_max:.3g} nats",
        f"top-1 {metrics.top1_agreement:.2%}",
        f"largest logit error {metrics.max_abs_logit_error:.3g}",
    ]
    if metrics.perplexity_source is not None and metrics.perplexity_file is not None:
        words.append(
            f"perplexity {metrics.perplexity_source:.4f} -> {metrics.perplexity_file:.4f}, "
            f"ratio{_interval(metrics.perplexity_ratio_ci) or ' without an interval'}"
        )
    return "; ".join(words)


def _interval(interval: tuple[float, float] | None) -> str:
    return "" if interval is None else f" ({interval[0]:.4g} to {interval[1]:.4g})"


def anything(value: object) -> str:
    """Whatever a report's free fields hold, in one line: numbers to six digits, lists with brackets."""
    if value is None:
        return "-"
    if isinstance(value, float):
        return f"{value:.6g}"
    if isinstance(value, (list, tuple)):
        return f"[{', '.join(map(anything, value))}]"
    return str(value)
