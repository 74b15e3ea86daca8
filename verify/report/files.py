"""Render the files of a report directory."""

from __future__ import annotations

from verify.report import attestation, junit, summary
from verify.report.document import readable
from verify.report.model import Report

NAMES = ("report.json", "report.html", "junit.xml", "attestation.json", "summary.md")


def render(report: Report) -> dict[str, bytes]:
    """Return every rendering of one report, in UTF-8."""
    texts = (
        report.to_json(),
        report.to_html(),
        junit.render(report),
        attestation.render(report),
        summary.render(report),
    )
    return {name: readable(text).encode() for name, text in zip(NAMES, texts, strict=True)}
