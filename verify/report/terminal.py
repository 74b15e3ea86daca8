"""Reports and summaries on a terminal. No arithmetic but ratios for display."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.markup import escape

from verify.attribution.storage_cost import Attribution
from verify.checks.result import CheckResult
from verify.report.advice import next_step
from verify.report.console import plain_table
from verify.report.model import Report
from verify.report.words import beside, describe, number

_COLOURS = {"pass": "green", "fail": "red", "skipped": "yellow"}


def show_report(console: Console, report: Report, written: Path | None = None) -> None:
    """The table of checks, the metrics, the verdict with its reason, and what to do next. written: where the report's
    files are."""
    table = plain_table("check", "status", "bound", "observed", "limit", "detail")
    for check in report.checks:
        colour = _COLOURS[check.status]
        table.add_row(
            check.name,
            f"[{colour}]{check.status}[/{colour}]",
            check.bound,
            beside(check.observed, check.limit),
            number(check.limit),
            escape(check.detail),
        )
    console.print(table)
    for heading, metrics in (
        ("float32 activations", report.metrics),
        ("int8 activations, as runq.c computes", report.metrics_q8_activations),
    ):
        if metrics:
            console.print(f"{heading}: {describe(metrics)}", soft_wrap=True)
    if report.attribution:
        console.print(_costs(report.attribution), soft_wrap=True, markup=False)
    _show_reasons(console, report)
    colour = _COLOURS[report.verdict]
    verdict = f"[bold {colour}]{report.verdict.upper()}[/]"
    for check in report.blamed:
        console.print(f"next, {check.name}: {next_step(check, report)}", soft_wrap=True, markup=False)
    if written:
        console.print(f"report: {written / 'report.html'}", soft_wrap=True, markup=False)
    console.print(f"{verdict} {escape(str(report.file['path']))}: {escape(report.reason)}", soft_wrap=True)


def _costs(attribution: Attribution) -> str:
    """The tensors whose storage costs most."""
    most = ", ".join(f"{share.tensor} {share.kl_share:.1%}" for share in attribution.shares[:_PARTS])
    return (
        f"what storage costs, KL {attribution.kl:.3g} in window {attribution.window}: {most}; "
        f"linearity residual {attribution.residual.kl:.1%}"
    )


# Parts of an error that are worth reading.
_PARTS = 3


def _show_reasons(console: Console, report: Report) -> None:
    """What a failure owes to what, as far as it is known."""
    lines = []
    if report.diagnosis:
        lines.append(f"most likely: {report.diagnosis.sentence}")
    worst = max((c for c in report.checks if c.status == "fail" and c.utilisation), key=_use, default=None)
    if worst:
        lines.append(f"the smallest limit that would have passed: {worst.name}, {_use(worst):.3g} times today's")
    if closure := report.closure:
        parts = ", ".join(
            f"{'' if part.layer is None else f'layer {part.layer} '}{part.operation} {part.part:+.3g}"
            for part in closure.parts[:_PARTS]
        )
        lines.append(
            f"logit {closure.index} at window {closure.window}, position {closure.position} is "
            f"{closure.difference:+.3g} off: {parts}; all operations together explain {closure.explained:.2%} of it"
        )
    for line in lines:
        console.print(line, soft_wrap=True, markup=False)


def _use(check: CheckResult) -> float:
    return check.utilisation or 0.0


def show_formats(console: Console, reports: Sequence[tuple[str, Report]], float_bytes: int) -> None:
    """One line a file, under its name. float_bytes: size of the same weights in float32."""
    table = plain_table("format", "bytes", "ratio", "checks", "KL mean", "top-1", "max logit error")
    for name, report in reports:
        passed = sum(check.status == "pass" for check in report.checks)
        colour = _COLOURS[report.verdict]
        metrics = report.metrics
        table.add_row(
            name,
            f"{report.file['bytes']:,}",
            f"{float_bytes / report.file['bytes']:.2f}",
            f"[{colour}]{passed} of {len(report.checks)} passed[/{colour}]",
            "-" if metrics is None else f"{metrics.kl_mean:.2e}",
            "-" if metrics is None else f"{metrics.top1_agreement:.2%}",
            "-" if metrics is None else f"{metrics.max_abs_logit_error:.2e}",
        )
    console.print(table)
    console.print("ratio: bytes of the weights in float32 to bytes of the file")
