"""summary.md: the verdict for a pull request or a job's summary page, in GitHub's Markdown."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from verify.report.advice import next_step
from verify.report.model import Report
from verify.report.words import beside, describe, number

_SIGNS = {"pass": "✅", "fail": "❌", "skipped": "⚠️"}

# Of attribution: tensors that are worth a line in a summary.
_TENSORS = 5


def render(report: Report) -> str:
    return "\n".join(_lines(report)) + "\n"


def _lines(report: Report) -> Iterator[str]:
    yield f"## {_SIGNS[report.verdict]} {report.verdict.upper()} {_text(report.file['path'])}"
    yield ""
    yield f"{_text(report.reason)}"
    if report.diagnosis:
        yield ""
        yield f"**Most likely:** {_text(report.diagnosis.sentence)}"
    for check in report.blamed[:1]:
        yield ""
        yield f"**Next:** {_text(next_step(check, report))}"
    yield ""
    yield f"{report.file['format']}, {report.file['bytes']:,} bytes, sha256 `{report.file['sha256']}`"
    yield ""
    yield from _table(
        ("check", "status", "bound", "observed", "limit", "detail"),
        [
            (
                c.name,
                f"{_SIGNS[c.status]} {c.status}",
                c.bound,
                beside(c.observed, c.limit),
                number(c.limit),
                c.detail,
            )
            for c in report.checks
        ],
    )
    for heading, metrics in (
        ("float32 activations", report.metrics),
        ("int8 activations", report.metrics_q8_activations),
    ):
        if metrics:
            yield ""
            yield f"**{heading}:** {_text(describe(metrics))}"
    if report.baseline:
        yield ""
        yield f"**Against the baseline** {_text(report.baseline.path)}:"
        yield ""
        yield from _table(
            ("figure", "windows", "activations", "baseline", "found", "worse by", "limit"),
            [
                (
                    c.metric,
                    f"{c.windows} {c.origin}",
                    c.activations,
                    number(c.baseline),
                    number(c.found),
                    f"{c.difference:.3g} ({c.interval[0]:.3g} to {c.interval[1]:.3g})",
                    number(c.limit),
                )
                for c in report.baseline.comparisons
            ],
        )
    if report.attribution:
        shares = report.attribution.shares[:_TENSORS]
        named = ", ".join(f"{share.tensor} {share.kl_share:.1%}" for share in shares)
        yield ""
        yield f"**What storage costs most:** {_text(named)} of KL {report.attribution.kl:.3g}"


def _table(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> Iterator[str]:
    yield f"| {' | '.join(headings)} |"
    yield f"|{'---|' * len(headings)}"
    for row in rows:
        yield f"| {' | '.join(_text(cell) for cell in row)} |"


def _text(value: object) -> str:
    """One line in which nothing is taken for Markdown or HTML: names come from files."""
    return re.sub(r"([\\`*_\[\]<>|#&~])", r"\\\1", " ".join(str(value).split()))
