"""Write metrics and free values in words, the same in every rendering."""

from __future__ import annotations

from typing import Any

from verify.checks.digits import counted, number, percentage
from verify.checks.metrics import Metrics
from verify.checks.result import CheckResult


def describe(metrics: Metrics) -> str:
    """Write one line of metrics, with the number of positions that they cover."""
    words = [
        counted(metrics.positions, "position"),
        f"KL mean {metrics.kl_mean:.3g}{_interval(metrics.kl_mean_ci)}, max {metrics.kl_max:.3g} nats",
        f"top-1 {percentage(metrics.top1_agreement, 2)}",
        f"largest logit error {metrics.max_abs_logit_error:.3g}",
    ]
    if metrics.perplexity_source is not None and metrics.perplexity_file is not None:
        words.append(
            f"perplexity {metrics.perplexity_source:.4f} -> {metrics.perplexity_file:.4f}, "
            f"ratio{_interval(metrics.perplexity_ratio_ci) or ' without an interval'}"
        )
    return "; ".join(words)


def config_in_words(config: dict[str, Any]) -> dict[str, Any]:
    """Return a file's hyper-parameters with its layers in a few words: which ones are of which kind."""
    kinds: dict[str, list[str]] = {}
    for at, layer in enumerate(config.get("layers", ())):
        sees = f"the last {config['window']} positions" if layer["windowed"] else "all positions"
        rope = {"none": "no RoPE", "first": "RoPE", "second": "the second RoPE"}[layer["rope"]]
        kinds.setdefault(f"{sees}, {rope}", []).append(str(at))
    if not kinds:
        return config
    alike = len(kinds) == 1
    words = "; ".join(kind if alike else f"{kind}: {', '.join(numbers)}" for kind, numbers in kinds.items())
    return {**config, "layers": words}


def _interval(interval: tuple[float, float] | None) -> str:
    return "" if interval is None else f" ({interval[0]:.4g} to {interval[1]:.4g})"


def limit_of(check: CheckResult) -> str:
    """Write a check's limit: "none" if it passed without one, "-" if it did not run."""
    return "none" if check.status == "pass" and check.limit is None else number(check.limit)


def anything(value: object) -> str:
    """Write any value of a report's free fields in one line: numbers with six digits, lists in brackets."""
    if value is None:
        return "-"
    if isinstance(value, float):
        return f"{value:.6g}"
    if isinstance(value, (list, tuple)):
        return f"[{', '.join(map(anything, value))}]"
    return str(value)
