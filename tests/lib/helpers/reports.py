"""Reports made by hand: of a file that passes, with a share of everything that a report can hold."""

from __future__ import annotations

import dataclasses
import math
import statistics
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np

from verify.attribution.logit_error import Closure, Part
from verify.attribution.storage_cost import Attribution, Residual, TensorShare
from verify.checks.certificates import Certificates, GreedyText, MarginAt, Tie
from verify.checks.metrics import Metrics, WindowMetrics, WorstPosition
from verify.checks.operations import LayerReport
from verify.checks.policy import load_policy
from verify.checks.result import CheckResult, exact, within
from verify.checks.tensors import TensorReport
from verify.diagnosis import Diagnosis
from verify.evidence.coverage import Coverage
from verify.report.model import Report

# A policy that limits what storage costs, which the default does not.
LIMITING_POLICY = Path(__file__).parents[3] / "examples/policies/limits-of-the-earlier-default.toml"

DIGEST = "0123456789abcdef" * 4
GUILTY = "layers.1.feed_forward.w2.weight"

METRICS = Metrics(
    positions=24,
    kl_mean=1e-3,
    kl_mean_ci=(5e-4, 2e-3),
    kl_p99=0.0161,
    kl_max=0.02,
    top1_agreement=0.95,
    max_abs_logit_error=0.4,
    rms_logit_error=0.05,
    perplexity_source=8.0,
    perplexity_file=8.001,
    perplexity_ratio_ci=(0.999, 1.001),
    worst_positions=(WorstPosition(0, 2, 0.02, 0.4, "In the beginning"), WorstPosition(2, 1, 0.003, 0.3)),
)

METRICS_Q8 = dataclasses.replace(METRICS, kl_mean=2e-3)


def window(number: int, origin: str, activations: str = "fp32", **changes: Any) -> WindowMetrics:
    fields: dict[str, Any] = {
        "window": number,
        "activations": activations,
        "origin": origin,
        "tokens_sha256": f"{number:064x}",
        "kl_mean": 1e-3 * (1 + 0.1 * number),
        "top1_agreement": 0.95,
        "max_abs_logit_error": 0.4,
        "rms_logit_error": 0.05 + 0.001 * number,
        "nll_source": 2.0 + 0.3 * number,
        "nll_file": 2.001 + 0.3 * number,
        "kl": (1e-4, 2e-3, 0.02),
        "logit_error": (0.1, 0.2, 0.4),
    }
    return WindowMetrics(**{**fields, **changes})


COVERAGE = Coverage(
    windows=8,
    tokens=24,
    positions=3,
    max_seq_len=33,
    token_ids=20,
    vocab_size=29,
    arithmetics=("mirror",),
    calls=("whole",),
    traced_windows=2,
    traced_positions=6,
)

GREEDY_TEXTS = (
    GreedyText("Once <b>", "fp32", tokens=8, certain=5, tie=Tie(7, (1, 2), 3.5), smallest_margin=2.0),
    GreedyText("Once <b>", "q8", tokens=8, certain=8, tie=None, smallest_margin=math.inf),
)
CERTIFICATES = Certificates(24, 22, 10.0, MarginAt(1, 2, (3, 5), 8.25), MarginAt(4, 0, (7, 2), 0.5), 24)

ORIGINS = ("text", "text", "text", "random", "random", "random", "fixed", "fixed")


def windows_of(metrics: Metrics, activations: str) -> tuple[WindowMetrics, ...]:
    """Windows whose figures together are the metrics: 22 positions share what the two worst leave of KL."""
    first, second = metrics.worst_positions
    rest = (metrics.positions * metrics.kl_mean - first.kl - second.kl) / (metrics.positions - 2)
    assert metrics.perplexity_source is not None
    assert metrics.perplexity_file is not None
    made = []
    for number, origin in enumerate(ORIGINS):
        kl, error = [rest] * 3, [0.1, 0.2, 0.25]
        for worst in (first, second):
            if worst.window == number:
                kl[worst.position], error[worst.position] = worst.kl, worst.max_abs_logit_error
        spread = 0.3 * (number - 1)
        made.append(
            window(
                number,
                origin,
                activations,
                kl_mean=sum(kl) / 3,
                top1_agreement=metrics.top1_agreement,
                max_abs_logit_error=max(error),
                rms_logit_error=metrics.rms_logit_error,
                nll_source=math.log(metrics.perplexity_source) + spread,
                nll_file=math.log(metrics.perplexity_file) + spread,
                kl=tuple(float(f"{value:.4g}") for value in kl),
                logit_error=tuple(error),
            )
        )
    return tuple(made)


def consistent(report: Report) -> Report:
    """The report with metrics and positions that follow from its windows' means, which a test has changed."""
    windows = tuple(
        dataclasses.replace(w, kl=(w.kl_mean,) * 3, logit_error=(w.max_abs_logit_error,) * 3) for w in report.windows
    )
    counts = Counter(w.origin for w in windows if w.activations == "fp32")
    quantized = any(w.activations == "q8" for w in windows)
    return dataclasses.replace(
        report,
        config={**report.config, "group_size": 8 if quantized else 0},
        windows=windows,
        certificates=None,  # of the windows before
        evidence={**report.evidence, "windows": dict(counts) or report.evidence["windows"]},
        metrics=_metrics(report.metrics, [w for w in windows if w.activations == "fp32"]),
        metrics_q8_activations=_metrics(report.metrics_q8_activations, [w for w in windows if w.activations == "q8"]),
    )


def _metrics(before: Metrics | None, windows: list[WindowMetrics]) -> Metrics | None:
    if not windows:
        return None
    text = [w for w in windows if w.origin == "text"]
    kl = [w.kl_mean for w in windows]
    return dataclasses.replace(
        before or METRICS,
        positions=3 * len(windows),
        kl_mean=statistics.fmean(kl),
        kl_p99=float(np.quantile(np.repeat(kl, 3), 0.99)),
        kl_max=float(np.max(kl)),
        top1_agreement=statistics.fmean(w.top1_agreement for w in windows),
        max_abs_logit_error=max(w.max_abs_logit_error for w in windows),
        rms_logit_error=math.sqrt(statistics.fmean(w.rms_logit_error**2 for w in windows)),
        perplexity_source=math.exp(statistics.fmean(w.nll_source for w in text)) if text else None,
        perplexity_file=math.exp(statistics.fmean(w.nll_file for w in text)) if text else None,
        worst_positions=(),
    )


def passing() -> Report:
    worst = ("fp32", 1, "down")
    layers = tuple(
        LayerReport(
            activations,
            layer,
            operation,
            1e-6,
            0.9 if (activations, layer, operation) == worst else 0.1,
            {"window": 0, "position": 1, "index": [2]},
        )
        for activations in ("fp32", "q8")
        for layer, operation in ((None, "embedding"), (0, "q"), (0, "down"), (1, "q"), (1, "down"), (None, "logits"))
    )
    return Report(
        source={"path": "model.pt", "kind": "llama2c", "sha256": {"model.pt": DIGEST}},
        file={"path": "model.bin", "format": "v2", "bytes": 1000, "sha256": DIGEST},
        config={
            "dim": 48,
            "hidden_dim": 40,
            "n_layers": 2,
            "n_heads": 6,
            "n_kv_heads": 3,
            "vocab_size": 29,
            "max_seq_len": 33,
            "shared_classifier": True,
            "group_size": 8,
        },
        # as if the default had these limits
        policy=dataclasses.replace(load_policy(LIMITING_POLICY, "v2"), path="default"),
        evidence={
            "depth": "quick",
            "seed": 0,
            "seed_from": "file",
            "windows": {"text": 3, "random": 3, "fixed": 2},
            "text": None,
            "tokens": None,
            "coverage": COVERAGE.to_dict(),
        },
        checks=(
            exact("config", 0, "8 header fields agree with the source"),
            exact("file", 0, "20 tensors cover 1000 bytes"),
            exact("tensors", 0, "20 tensors, every bit as derived from the source"),
            within("operations", "rigorous", 0.9, 1.0, "12 operations", {"layer": 1, "operation": "down"}),
            within("execution", "statistical", 3.0, 10.0, "700 logits", {"window": 0, "position": 1}),
            within("storage", "statistical", 1.5, 6.0, "1.50 standard deviations", {"activations": "fp32"}),
            within("quantization", "policy", 1e-3, 0.03, "kl_mean: limit 0.03, found 0.001", {"window": 0}),
        ),
        metrics=METRICS,
        metrics_q8_activations=METRICS_Q8,
        windows=windows_of(METRICS, "fp32") + windows_of(METRICS_Q8, "q8"),
        certificates=CERTIFICATES,
        greedy_texts=GREEDY_TEXTS,
        tensors=(
            TensorReport(GUILTY, (48, 40), "q8_0", 8, 0.01, 0.011, 0.9, 0.001, 40.0),
            TensorReport("norm.weight", (48,), "fp32", 0, 0.0, None, None, 0.0, None),
        ),
        layers=layers,
        diagnosis=None,
        closure=None,
        attribution=Attribution(
            0,
            1e-3,
            2,
            5,
            0.4,
            (TensorShare(GUILTY, 0.7, -0.2), TensorShare("norm.weight", 0.0, 0.0)),
            Residual(0.01, 0.02),
        ),
        baseline=None,
        environment={
            "versions": {"torch": "2.13.0"},
            "cpu": "any",
            "threads": 2,
            "arithmetic": "mirror",
            "path": "mirror",
        },
    )


def failing() -> Report:
    """One weight is off: `tensors` and `operations` fail, with a diagnosis and a closure."""
    report = passing()
    where = {"tensor": GUILTY, "index": [20, 7], "expected": 42, "found": 82}
    tensors = exact("tensors", 1, f"{GUILTY} int8 [20, 7]: expected 42, found 82", where)
    operations = within(
        "operations",
        "rigorous",
        float("inf"),
        1.0,
        "layer 1 down is not the one right answer",
        {"layer": 1, "operation": "down"},
    )
    layers = tuple(
        dataclasses.replace(layer, max_error_over_bound=float("inf"))
        if (layer.layer, layer.operation) == (1, "down")
        else layer
        for layer in report.layers
    )
    return dataclasses.replace(
        report,
        checks=replaced(report.checks, tensors, operations),
        layers=layers,
        diagnosis=Diagnosis("few-elements", f"{GUILTY} holds the right values except int8 [20, 7]", (GUILTY,), 1.0),
        closure=Closure(0, 2, 5, 0.4, 1.0, (Part(1, "down", 0.39), Part(None, "logits", 0.01))),
    )


def replaced(checks: tuple[CheckResult, ...], *new: CheckResult) -> tuple[CheckResult, ...]:
    """The checks with these in the place of those of their names."""
    by_name = {check.name: check for check in new}
    return tuple(by_name.get(check.name, check) for check in checks)


def without_logits(report: Report) -> Report:
    """As it is where the source holds a NaN: nothing was run."""
    skipped = tuple(
        CheckResult(check.name, "skipped", check.bound, None, None, "the source's norm.weight holds a NaN")
        if check.name in ("operations", "execution", "storage", "quantization")
        else check
        for check in report.checks
    )
    return dataclasses.replace(
        report,
        checks=skipped,
        metrics=None,
        metrics_q8_activations=None,
        windows=(),
        certificates=None,
        layers=(),
        attribution=None,
    )


def skipping_allowed() -> Report:
    """A report without logits under a policy that allows it."""
    report = without_logits(passing())
    names = ("operations", "execution", "storage", "quantization")
    return dataclasses.replace(report, policy=dataclasses.replace(report.policy, may_be_skipped=names))


REPORTS = {"pass": passing(), "fail": failing(), "no logits": without_logits(passing())}
