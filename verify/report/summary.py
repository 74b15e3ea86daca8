"""Render summary.md: the verdict in GitHub's Markdown, for a pull request or a job's summary page."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from verify.checks.digits import beside, number
from verify.report.advice import next_step
from verify.report.findings import Findings
from verify.report.formatting import describe, limit_of

_SIGNS = {"pass": "✅", "fail": "❌", "skipped": "⚠️"}

# How many tensors of the attribution a summary names.
_TENSORS = 5


def render(findings: Findings) -> str:
    """Return summary.md."""
    return "\n".join(_lines(findings)) + "\n"


def _lines(findings: Findings) -> Iterator[str]:
    yield from _said_first(findings)
    yield f"{findings.file['format']}, {findings.file['bytes']:,} bytes, sha256 `{findings.file['sha256']}`"
    yield ""
    yield from _table(
        ("check", "status", "bound", "observed", "limit", "detail"),
        [
            (
                c.name,
                f"{_SIGNS[c.status]} {c.status}",
                c.bound,
                beside(c.observed, c.limit),
                limit_of(c),
                c.detail,
            )
            for c in findings.checks
        ],
    )
    for heading, metrics in (
        ("float32 activations", findings.metrics),
        ("int8 activations", findings.metrics_q8_activations),
    ):
        if metrics:
            yield ""
            yield f"**{heading}:** {_text(describe(metrics))}"
    if findings.certificates:
        yield ""
        yield f"**Greedy text:** {_text(findings.certificates.sentence())}"
    for text in findings.greedy_texts:
        yield ""
        yield _text(text.sentence()).replace("greedy text", "**Greedy text**", 1)
    if findings.baseline:
        yield ""
        yield f"**Against the baseline** {_text(findings.baseline.path)}:"
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
                for c in findings.baseline.comparisons
            ],
        )
    if findings.attribution:
        shares = findings.attribution.shares[:_TENSORS]
        named = ", ".join(f"{share.tensor} {share.kl_share:.1%}" for share in shares)
        yield ""
        yield f"**What storage costs most:** {_text(named)} of KL {findings.attribution.kl:.3g}"


def _said_first(findings: Findings) -> Iterator[str]:
    """Yield the verdict, its reason, what was covered, the likely mistake and the next step."""
    yield f"## {_SIGNS[findings.verdict]} {findings.verdict.upper()} {_text(findings.file['path'])}"
    yield ""
    yield f"{_text(findings.reason)}{_text(findings.caveat)}"
    if findings.coverage:
        yield ""
        yield _text(findings.coverage.sentence())
    if findings.diagnosis:
        yield ""
        yield f"**Most likely:** {_text(findings.diagnosis.sentence)}"
    for check in findings.blamed[:1]:
        yield ""
        yield f"**Next:** {_text(next_step(check, findings))}"
    yield ""


def _table(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> Iterator[str]:
    yield f"| {' | '.join(headings)} |"
    yield f"|{'---|' * len(headings)}"
    for row in rows:
        yield f"| {' | '.join(_text(cell) for cell in row)} |"


def _text(value: object) -> str:
    """Write one line with Markdown and HTML escaped, because names come from files."""
    return re.sub(r"([\\`*_\[\]<>|#&~])", r"\\\1", " ".join(str(value).split()))
