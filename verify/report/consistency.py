"""Find where the numbers of a saved report contradict each other, as they do after most edits by hand.

verify() writes the same facts more than once: for each window and for all of them, for each operation and for the
check. An edited copy must keep all of them in step. This detects careless edits, not a forger who computes every
number anew; a signature is there against that.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterator, Sequence

import numpy as np

from verify.checks.baseline import BaselineComparison
from verify.checks.metrics import Metrics, WindowMetrics
from verify.checks.result import Bound, CheckResult
from verify.report.findings import Findings
from verify.report.greedy_texts import contradictions_of
from verify.tokenizers.drawn_texts import TEXTS

# check -> the kinds of bounds with which it can pass or fail
_BOUNDS: dict[str, tuple[Bound, ...]] = {
    "config": ("exact",),
    "file": ("exact",),
    "tokenizer": ("exact",),
    "tensors": ("exact", "rigorous"),
    "operations": ("rigorous",),
    "execution": ("statistical", "exact"),
    "engine": ("statistical", "policy", "exact"),
    "storage": ("statistical", "exact"),
    "quantization": ("policy", "exact"),
    "coverage": ("policy",),
    "baseline": ("statistical",),
}

# Sums in another order differ by less; plotted figures have four digits.
_SAME = 1e-6
_FOUR_DIGITS = 1e-3

_FIGURES: dict[str, Callable[[WindowMetrics], float]] = {
    "kl_mean": lambda w: w.kl_mean,
    "top1_agreement": lambda w: w.top1_agreement,
    "rms_logit_error": lambda w: w.rms_logit_error,
    "nll": lambda w: w.nll_file,
}


def contradictions(findings: Findings) -> Iterator[str]:
    """Yield each contradiction as "where: expected X, found Y"."""
    for check in findings.checks:
        yield from _of_check(check)
    yield from _of_operations(findings)
    yield from _of_tokenizers(findings)
    yield from _of_layers(findings)
    yield from _of_tensors(findings)
    yield from _of_windows(findings)
    for activations, name, metrics in (
        ("fp32", "metrics", findings.metrics),
        ("q8", "metrics_q8_activations", findings.metrics_q8_activations),
    ):
        windows = [window for window in findings.windows if window.activations == activations]
        yield from _of_metrics(name, metrics, windows)
    yield from _of_quantization(findings)
    yield from _of_certificates(findings)
    yield from contradictions_of(findings.greedy_texts)
    if (engine := findings.engine) and engine.same_bits > engine.logits:
        yield f"engine: same_bits: expected at most its {engine.logits} logits, found {engine.same_bits}"
    for comparison in findings.baseline.comparisons if findings.baseline else ():
        yield from _of_comparison(comparison, findings.windows)


def _of_check(check: CheckResult) -> Iterator[str]:
    bounds = _BOUNDS.get(check.name, ())
    if check.status != "skipped" and check.bound not in bounds:
        yield f"checks: {check.name}: bound: expected {' or '.join(bounds)}, found {check.bound}"
    elif check.bound == "exact" and check.limit:
        yield f"checks: {check.name}: limit: expected 0, as its bound is exact, found {check.limit:g}"
    elif check.name == "tensors" and check.bound == "rigorous" and check.limit not in (None, 1):
        yield f"checks: tensors: limit: expected 1, the proved bound, found {check.limit:g}"


def _of_operations(findings: Findings) -> Iterator[str]:
    """The check's figure is the largest of its operations."""
    check = next((check for check in findings.checks if check.name == "operations"), None)
    worst = _largest([layer.max_error_over_bound for layer in findings.layers])
    observed = None if check is None else check.observed
    if not _same(observed, worst):
        where = "checks: operations: observed"
        yield f"{where}: expected {_shown(worst)}, the largest of `layers`, found {_shown(observed)}"


def _of_tokenizers(findings: Findings) -> Iterator[str]:
    """A pass means that every tokenizer was read, and that as many texts were compared as the depth asks for."""
    check = next((check for check in findings.checks if check.name == "tokenizer"), None)
    if check is None or check.status != "pass":
        return
    texts = TEXTS.get(str(findings.evidence.get("depth")))
    for number, one in enumerate(findings.tokenizers):
        if not one.tokens or not one.library:
            yield f"tokenizers: {number}: expected ids that a library judged, as the check passed, found none"
        # nothing here encodes by qwen3.c's files, and no library reads a v3 file
        elif one.form != "qwen3c" and one.library != "none" and one.texts != texts:
            yield f"tokenizers: {number}: texts: expected {texts}, as the depth says, found {one.texts}"


def _of_layers(findings: Findings) -> Iterator[str]:
    """Every layer of the model has its operations, with each kind of activations that the file has."""
    layers, count = findings.layers, findings.config["n_layers"]
    if not isinstance(count, int):
        yield f"config: n_layers: expected an integer, found {count!r:.80}"
        return
    for activations in _activations(findings) if layers else ():
        found = {layer.layer for layer in layers if layer.activations == activations}
        # the first one, because an edited report may claim any number of them
        missing = next((number for number in range(count) if number not in found), None)
        if missing is not None:
            yield f"layers: {activations}: expected {count} layers, found none of number {missing}"
    by_layer: dict[int, set[str]] = {}
    for layer in layers:
        # with int8 activations, the operations depend on what the layer stores as Q8_0
        if layer.layer is not None and layer.activations == "fp32":
            by_layer.setdefault(layer.layer, set()).add(layer.operation)
    every = set().union(*by_layer.values())
    for number, operations in sorted(by_layer.items()):
        for operation in sorted(every - operations):
            yield f"layers: layer {number}: expected {operation}, as other layers have it, found none"


def _activations(findings: Findings) -> tuple[str, ...]:
    return ("fp32", "q8") if findings.config["group_size"] else ("fp32",)


def _of_tensors(findings: Findings) -> Iterator[str]:
    """A pass means that every tensor is within its bound; every tensor beyond it is a fail."""
    check = next(check for check in findings.checks if check.name == "tensors")
    if check.status != "pass":
        return
    if not findings.tensors:
        yield "tensors: expected every tensor, as the check passed, found none"
    for tensor in findings.tensors:
        used = tensor.utilisation or 0.0
        if not (math.isfinite(tensor.max_abs_error) and used <= 1):
            yield (
                f"tensors: {tensor.name}: utilisation: expected at most 1, as the check passed, "
                f"found {used if math.isfinite(tensor.max_abs_error) else math.inf:g}"
            )


def _of_windows(findings: Findings) -> Iterator[str]:
    """The windows are as many of each origin as the evidence says, and their means are those of their positions."""
    said = dict(findings.evidence["windows"])
    for activations in _activations(findings) if findings.windows else ():
        found = Counter(window.origin for window in findings.windows if window.activations == activations)
        if found != said:
            yield f"windows: {activations}: expected {_counts(said)}, as the evidence says, found {_counts(found)}"
    for window in findings.windows:
        place = f"windows: {window.window} ({window.activations})"
        if len(window.kl) != len(window.logit_error):
            yield f"{place}: logit_error: expected {len(window.kl)}, as in kl, found {len(window.logit_error)}"
        for name, expected, value in (
            ("kl_mean", float(np.mean(window.kl)), window.kl_mean),
            ("max_abs_logit_error", _largest(window.logit_error), window.max_abs_logit_error),
        ):
            if not _same(expected, value, _FOUR_DIGITS):
                yield f"{place}: {name}: expected {_shown(expected)}, of its positions, found {_shown(value)}"


def _of_metrics(name: str, metrics: Metrics | None, windows: Sequence[WindowMetrics]) -> Iterator[str]:
    """The metrics are those of all windows."""
    if metrics is None or not windows:
        if metrics is not None or windows:
            yield f"{name}: expected figures exactly if there are `windows`, found one without the other"
        return
    for key, expected, found, tolerance in _expected(metrics, windows):
        if not _same(expected, found, tolerance):
            yield f"{name}: {key}: expected {_shown(expected)}, of `windows`, found {_shown(found)}"
    positions = {(w.window, at): kl for w in windows for at, kl in enumerate(w.kl)}
    for worst in metrics.worst_positions:
        kl = positions.get((worst.window, worst.position))
        if not _same(kl, worst.kl, _FOUR_DIGITS):
            place = f"window {worst.window}, position {worst.position}"
            yield f"{name}: worst_positions: {place}: expected {_shown(kl)}, of `windows`, found {_shown(worst.kl)}"


def _expected(
    metrics: Metrics, windows: Sequence[WindowMetrics]
) -> Iterator[tuple[str, float | None, float | None, float]]:
    """Yield each figure's name, what the windows give for it, what the metrics say, and the tolerance."""
    sizes = [len(window.kl) for window in windows]
    every = np.concatenate([window.kl for window in windows])
    squares = float(np.average([window.rms_logit_error**2 for window in windows], weights=sizes))
    yield "positions", sum(sizes), metrics.positions, 0.0
    yield "kl_mean", _mean(windows, lambda w: w.kl_mean), metrics.kl_mean, _SAME
    yield "kl_p99", float(np.quantile(every, 0.99)), metrics.kl_p99, _FOUR_DIGITS
    yield "kl_max", float(every.max()), metrics.kl_max, _FOUR_DIGITS
    yield "top1_agreement", _mean(windows, lambda w: w.top1_agreement), metrics.top1_agreement, _SAME
    largest = _largest([window.max_abs_logit_error for window in windows])
    yield "max_abs_logit_error", largest, metrics.max_abs_logit_error, _SAME
    yield "rms_logit_error", math.sqrt(squares), metrics.rms_logit_error, _SAME
    text = [window for window in windows if window.origin in ("text", "tokens")]
    yield "perplexity_source", _perplexity(text, lambda w: w.nll_source), metrics.perplexity_source, _SAME
    yield "perplexity_file", _perplexity(text, lambda w: w.nll_file), metrics.perplexity_file, _SAME


def _mean(windows: Sequence[WindowMetrics], figure: Callable[[WindowMetrics], float]) -> float:
    return float(np.average([figure(window) for window in windows], weights=[len(window.kl) for window in windows]))


def _perplexity(windows: Sequence[WindowMetrics], nll: Callable[[WindowMetrics], float]) -> float | None:
    if not windows:
        return None
    # the first token of a window is predicted from nothing
    mean = np.average([nll(window) for window in windows], weights=[len(window.kl) - 1 for window in windows])
    with np.errstate(over="ignore"):
        return float(np.exp(mean))


def _of_quantization(findings: Findings) -> Iterator[str]:
    check = next(check for check in findings.checks if check.name == "quantization")
    if check.status == "pass" and findings.metrics is None:
        yield "metrics: expected some, as the check quantization passed, found none"


def _of_certificates(findings: Findings) -> Iterator[str]:
    """Every position of every window is certified or not, and the smallest margin says whether all are."""
    found = findings.certificates
    if found is None:
        return
    positions = sum(len(window.kl) for window in findings.windows if window.activations == "fp32")
    if found.positions != positions:
        yield f"certificates: positions: expected {positions}, of `windows`, found {found.positions}"
    for name, count in (("certified", found.certified), ("int8_certain", found.int8_certain or 0)):
        if count > found.positions:
            yield f"certificates: {name}: expected at most its {found.positions} positions, found {count}"
    every, certain = found.certified == found.positions, found.smallest.sigmas >= found.limit
    why = f"as {found.certified} of {found.positions} positions are certified"
    if every != certain:
        asked = "of at least" if every else "below"
        smallest = found.smallest.sigmas
        yield f"certificates: smallest: expected a margin {asked} {found.limit:g}, {why}, found {smallest:g}"
    if every != (found.first_uncertain is None):
        asked, other = ("none", "one") if every else ("a position", "none")
        yield f"certificates: first_uncertain: expected {asked}, {why}, found {other}"


def _of_comparison(comparison: BaselineComparison, windows: Sequence[WindowMetrics]) -> Iterator[str]:
    """A comparison's figure is that of the windows, and its difference that of its two figures."""
    place = f"baseline: {comparison.metric} on windows of {comparison.origin} ({comparison.activations})"
    mine = [
        _FIGURES[comparison.metric](window)
        for window in windows
        if (window.activations, window.origin) == (comparison.activations, comparison.origin)
    ]
    expected = float(np.mean(mine)) if mine else None
    if not _same(expected, comparison.found):
        yield f"{place}: found: expected {_shown(expected)}, of `windows`, found {_shown(comparison.found)}"
    low, high = comparison.interval
    if low > comparison.difference or comparison.difference > high:
        yield f"{place}: difference: expected {low:g} to {high:g}, its interval, found {comparison.difference:g}"
    sign = -1 if comparison.metric == "top1_agreement" else 1
    worse = sign * (comparison.found - comparison.baseline)
    # figures that nearly cancel leave their rounding
    size = max(abs(comparison.found), abs(comparison.baseline))
    if abs(worse - comparison.difference) > _SAME * size:
        yield f"{place}: difference: expected {worse:g}, of its figures, found {comparison.difference:g}"


def _largest(values: Sequence[float]) -> float | None:
    """Return the largest value, NaN if one is; None without any."""
    return float(np.max(values)) if values else None


def _same(one: float | None, other: float | None, tolerance: float = _SAME) -> bool:
    if one is None or other is None:
        return one is other
    try:
        return math.isclose(one, other, rel_tol=tolerance) or (math.isnan(one) and math.isnan(other))
    except OverflowError:
        # an edited integer may be beyond float64
        return False


def _shown(value: float | None) -> str:
    if value is None:
        return "none"
    try:
        return f"{value:.9g}"
    except OverflowError:
        # an edited integer may be beyond float64
        return "an integer beyond any count"


def _counts(counts: dict[str, int] | Counter[str]) -> str:
    return " and ".join(f"{count} of {origin}" for origin, count in sorted(counts.items())) or "none"
