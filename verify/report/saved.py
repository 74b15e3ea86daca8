"""Reports that were written earlier: read back, if they still say what they said then."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from verify.checks.result import CHECKS, CheckResult
from verify.errors import CannotJudgeError
from verify.report.model import SCHEMA_ID, Report, against_schema, digest_of_report
from verify.system.reading import read_hashed

# A report of a thousand windows of 4,096 tokens has a tenth of that.
_MOST_BYTES = 1 << 30


@dataclass(frozen=True)
class SavedReport:
    """A report, where it was read, and the sha256 of the bytes that it was read from."""

    path: Path
    sha256: str
    report: Report


def read_report(path: Path) -> Report:
    """The report that a report.json holds. Raises CannotJudgeError, also where it was changed by hand."""
    return read_saved(path).report


def read_saved(path: Path) -> SavedReport:
    """The same, with what tells it from others."""
    found, sha256 = read_hashed(path, _MOST_BYTES, "a report.json")
    return SavedReport(path, sha256, _rebuild(path, found))


def _rebuild(path: Path, found: dict[str, Any]) -> Report:
    if found.get("schema") != SCHEMA_ID:
        said = repr(found.get("schema"))[:80]
        raise CannotJudgeError(f"{path}: schema: expected {SCHEMA_ID}, found {said}")
    # first, since whatever was changed by hand is told best as that
    try:
        digest = digest_of_report(found)
    except (ValueError, RecursionError) as error:
        # infinity is a number of JSON; a report has a word for it
        raise CannotJudgeError(f"{path}: expected numbers within float64, found: {error}") from error
    if found.get("digest", digest) != digest:
        said = str(found["digest"])[:80]
        raise CannotJudgeError(f"{path}: digest: expected {digest}, found {said!r}: the report was changed")
    if wrong := against_schema(found):
        where = "/".join(map(str, wrong.absolute_path)) or "the report"
        raise CannotJudgeError(f"{path}: {where}: expected what the schema says, found: {wrong.message}") from wrong
    try:
        report = _report(found)
    except ExceptionGroup as error:
        # the schema's numbers have no end, a float's have
        raise CannotJudgeError(f"{path}: expected values that a report can hold, found: {_cause(error)}") from error
    expected, names = _contract(report), [check.name for check in report.checks]
    if names != expected:
        raise CannotJudgeError(
            f"{path}: checks: expected {', '.join(expected)}, each once, found {', '.join(names)[:200]}"
        )
    # whoever edits a report may mend its digest, but not what follows from what it says
    follows = {
        "verdict": found["verdict"] == report.verdict,
        "checks": found["checks"] == report.to_dict()["checks"] and all(map(_follows, report.checks)),
    }
    for key, right in follows.items():
        if not right:
            raise CannotJudgeError(f"{path}: {key}: expected what follows from the rest, found something else")
    return report


def _contract(report: Report) -> list[str]:
    """The checks that a verdict is made of, in their order. What could not run is among them, as skipped; two are
    there only where there was something to hold the file, or an engine, against. A directory has no `operations`."""
    asked_for = {
        "operations": report.file["format"] != "hf",
        "engine": report.engine is not None,
        "baseline": report.baseline is not None,
    }
    return [name for name in CHECKS if asked_for.get(name, True)]


def _follows(check: CheckResult) -> bool:
    """Whether a check's status is that of its numbers. A NaN is beyond any limit."""
    if check.observed is None or check.limit is None:
        return check.status == "skipped"
    return check.status == ("pass" if check.observed <= check.limit else "fail")


def _report(found: dict[str, Any]) -> Report:
    fields = {key: value for key, value in found.items() if key not in ("schema", "verdict", "digest")}
    shares, residual = fields.pop("attribution"), fields.pop("linearity_residual")
    of = fields.pop("attribution_of")
    fields["attribution"] = None if of is None else {**of, "shares": shares, "residual": residual}
    return _converter().structure(fields, Report)  # type: ignore[no-any-return]


def _cause(error: BaseException) -> BaseException:
    """The first of what went wrong in a structure, and within that."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error


@cache
def _converter() -> Any:
    """Plain data to dataclasses; float() reads "inf" and "nan" back."""
    from cattrs import Converter  # noqa: PLC0415  # only needed here

    return Converter()
