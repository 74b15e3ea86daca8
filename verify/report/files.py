"""Render the files of a report directory."""

from __future__ import annotations

from verify.report import attestation, junit, summary
from verify.report.document import readable
from verify.report.model import Report

NAMES = ("report.json", "report.html", "junit.xml", "attestation.json", "summary.md")
# signs all of them; there only if a key was given
SIGNATURE = "report.sig"
# every name that a report takes in its directory
PLACES = (*NAMES, SIGNATURE)


def render(report: Report) -> dict[str, bytes]:
    """Return every rendering of one report, in UTF-8.

    Nothing attests a file that nobody hashed, so a report that was judged without its file has no attestation.
    """
    texts = {
        "report.json": report.to_json(),
        "report.html": report.to_html(),
        "junit.xml": junit.render(report),
        "attestation.json": None if report.as_reported else attestation.render(report),
        "summary.md": summary.render(report),
    }
    return {name: readable(text).encode() for name, text in texts.items() if text is not None}
