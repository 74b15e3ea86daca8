"""Show reports and summaries on a terminal."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.markup import escape
from rich.text import Text

from verify.attribution.storage_cost import Attribution
from verify.checks.digits import beside, percentage
from verify.checks.result import CheckResult
from verify.report.advice import next_step
from verify.report.console import plain_table
from verify.report.finding_lines import headed
from verify.report.findings import Findings
from verify.report.formatting import describe, limit_of
from verify.report.lines import print_rows, print_table, say

_COLOURS = {"pass": "green", "fail": "red", "skipped": "yellow"}


def show_report(console: Console, findings: Findings, written: Path | None = None) -> None:
    """Print the table of checks, the metrics, the next steps, the verdict with its reason, and what it covered.

    written: the directory with the report's files.
    """
    rows = [
        (
            check.name,
            Text(check.status, style=_COLOURS[check.status]),
            check.bound,
            beside(check.observed, check.limit),
            limit_of(check),
            check.detail,
        )
        for check in findings.checks
    ]
    print_rows(console, ("check", "status", "bound", "observed", "limit", "detail"), rows)
    for heading, metrics in (
        ("float32 activations", findings.metrics),
        ("int8 activations, as runq.c computes", findings.metrics_q8_activations),
    ):
        if metrics:
            say(console, f"{heading}: {describe(metrics)}")
    if findings.certificates:
        say(console, f"greedy text: {findings.certificates.sentence()}")
    for text in findings.greedy_texts:
        say(console, text.sentence())
    if findings.attribution:
        say(console, _costs(findings.attribution))
    _show_reasons(console, findings)
    colour = _COLOURS[findings.verdict]
    verdict = f"[bold {colour}]{findings.verdict.upper()}[/]"
    for check in findings.blamed:
        say(console, f"next, {check.name}: {next_step(check, findings)}")
    if findings.judged_again and (signer := findings.judged_again.public_key_sha256):
        say(console, f"signature: good, by the key with sha256 {signer}")
    if written:
        say(console, f"report: {written / 'report.html'}")
    for note in findings.notes:
        say(console, f"note: {note}")
    reason = f"{findings.reason}{findings.caveat}"
    say(console, f"{verdict} {escape(str(findings.file['path']))}: {escape(reason)}", markup=True)
    if findings.coverage:
        say(console, findings.coverage.sentence())


def _costs(attribution: Attribution) -> str:
    """Name the tensors whose storage costs most."""
    most = ", ".join(f"{share.tensor} {share.kl_share:.1%}" for share in attribution.shares[:_PARTS])
    return (
        f"what storage costs, KL {attribution.kl:.3g} in window {attribution.window}: {most}; "
        f"linearity residual {attribution.residual.kl:.1%}"
    )


# How many parts of an error are printed.
_PARTS = 3


def _show_reasons(console: Console, findings: Findings) -> None:
    """Print what is known about the cause of a failure."""
    lines = []
    if findings.diagnosis:
        lines.append(headed(findings.diagnosis.signature, findings.diagnosis.sentence))
    failed = [check for check in findings.checks if check.status == "fail"]
    # where an exact or proved limit is exceeded, no other limit would help
    if failed and all(map(_is_adjustable, failed)):
        worst = max(failed, key=_use)
        times = beside(_use(worst), 1.0, digits=3)
        lines.append(f"the smallest limit that would have passed: {worst.name}, {times} times the current one")
    if closure := findings.closure:
        parts = ", ".join(
            f"{'' if part.layer is None else f'layer {part.layer} '}{part.operation} {part.part:+.3g}"
            for part in closure.parts[:_PARTS]
        )
        lines.append(
            f"logit {closure.index} at window {closure.window}, position {closure.position} is "
            f"off by {closure.difference:+.3g}: {parts}; all operations together explain "
            f"{percentage(closure.explained, 2)} of it"
        )
    for line in lines:
        say(console, line)


def _is_adjustable(check: CheckResult) -> bool:
    """Return whether another limit is a choice: not for exact answers, proved bounds, and `storage`, which no policy
    limits."""
    return check.bound not in ("exact", "rigorous") and check.name != "storage" and 0 < _use(check) < math.inf


def _use(check: CheckResult) -> float:
    return check.utilisation or 0.0


def show_formats(console: Console, reports: Sequence[tuple[str, Findings]], float_bytes: int) -> None:
    """Print one line for each file. float_bytes: the size of the same weights in float32."""
    table = plain_table("format", "bytes", "ratio", "checks", "KL mean", "top-1", "max logit error")
    for name, findings in reports:
        passed = sum(check.status == "pass" for check in findings.checks)
        colour = _COLOURS[findings.verdict]
        metrics = findings.metrics
        table.add_row(
            name,
            f"{findings.file['bytes']:,}",
            f"{float_bytes / findings.file['bytes']:.2f}",
            f"[{colour}]{passed} of {len(findings.checks)} passed[/{colour}]",
            "-" if metrics is None else f"{metrics.kl_mean:.2e}",
            "-" if metrics is None else percentage(metrics.top1_agreement, 2),
            "-" if metrics is None else f"{metrics.max_abs_logit_error:.2e}",
        )
    print_table(console, table)
    console.print("ratio: bytes of the weights in float32 divided by bytes of the file")
