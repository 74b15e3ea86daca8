"""Shows a report in a line, and in a notebook: the verdict and the table of checks."""

from __future__ import annotations

from html import escape

from verify.checks.digits import beside
from verify.checks.result import CheckResult
from verify.report.findings import Findings
from verify.report.formatting import limit_of
from verify.system.printable import printable

# Characters of a reason or a detail: what is longer stands in report.html.
_LONGEST = 200
_COLOURS = {"pass": "#1a7f37", "fail": "#cf222e", "skipped": "#9a6700"}


def one_line(report: Findings) -> str:
    """Return the verdict, the file and the reason, in one line whatever they contain."""
    return f"{report.verdict} {_short(report.file['path'])}: {_short(report.reason)}{report.caveat}"


def render(report: Findings) -> str:
    """Return HTML for a notebook's output: it has no styles but its own, no script and no link."""
    head = f"<b>{_coloured(report.verdict)}</b> {escape(one_line(report).removeprefix(report.verdict).strip())}"
    columns = "".join(f"<th>{name}</th>" for name in ("check", "status", "bound", "observed", "limit", "detail"))
    rows = "".join(_row(check) for check in report.checks)
    return f"<div><p>{head}</p><table><thead><tr>{columns}</tr></thead><tbody>{rows}</tbody></table></div>"


def _row(check: CheckResult) -> str:
    cells = (
        check.name,
        None,
        check.bound,
        beside(check.observed, check.limit),
        limit_of(check),
        _short(check.detail),
    )
    shown = (_coloured(check.status) if cell is None else escape(cell) for cell in cells)
    return f"<tr>{''.join(f'<td>{cell}</td>' for cell in shown)}</tr>"


def _coloured(status: str) -> str:
    return f'<span style="color: {_COLOURS[status]}">{escape(status)}</span>'


def _short(text: object) -> str:
    """Return a text as one line of printable characters, cut where it is long."""
    line = printable(" ".join(str(text).split()))
    return line if len(line) <= _LONGEST else f"{line[:_LONGEST]}..."
