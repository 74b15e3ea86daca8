"""Read reports that were written earlier, but only if nothing in them has changed."""

from __future__ import annotations

import os
from dataclasses import astuple, dataclass
from functools import cache
from pathlib import Path
from typing import Any

from verify.checks.result import CheckResult, checks_made
from verify.errors import CannotJudgeError
from verify.report.consistency import contradictions
from verify.report.document import SCHEMA_ID, against_schema, digest_of_report, optional_checks
from verify.report.model import Report
from verify.system.reading import read_hashed

# Ten times the size of a report on a thousand windows of 4,096 tokens.
_MOST_BYTES = 1 << 30


@dataclass(frozen=True)
class SavedReport:
    """Holds a report, the path that it was read from, and the sha256 of its bytes."""

    path: Path
    sha256: str
    report: Report


def read_report(path: str | os.PathLike[str]) -> Report:
    """Read the report in a report.json.

    Args:
        path: the report.json.

    Returns:
        The report as it was written.

    Raises:
        CannotJudgeError: there is no report, or somebody changed it by hand.
    """
    return read_saved(Path(path)).report


def read_saved(path: Path) -> SavedReport:
    """Read a report with its path and digest. Raises CannotJudgeError as read_report() does."""
    found, sha256 = read_hashed(path, _MOST_BYTES, "a report.json")
    return SavedReport(path, sha256, _rebuild(path, found))


def _rebuild(path: Path, found: dict[str, Any]) -> Report:
    if found.get("schema") != SCHEMA_ID:
        said = repr(found.get("schema"))[:80]
        raise CannotJudgeError(f"{path}: schema: expected {SCHEMA_ID}, found {said}")
    # first, because a change by hand explains everything else that may be wrong
    try:
        digest = digest_of_report(found)
    except (ValueError, RecursionError) as error:
        # JSON numbers may be beyond float64; a report writes infinity as text
        raise CannotJudgeError(f"{path}: expected numbers within float64, found: {error}") from error
    if found.get("digest", digest) != digest:
        said = str(found["digest"])[:80]
        raise CannotJudgeError(
            f"{path}: digest: expected {digest}, found {said!r}: the report was changed after it was written"
        )
    if wrong := against_schema(found):
        where = "/".join(map(str, wrong.absolute_path)) or "the report"
        raise CannotJudgeError(f"{path}: {where}: expected what the schema says, found: {wrong.message}") from wrong
    try:
        report = _report(found)
    except ExceptionGroup as error:
        # the schema allows numbers that no float64 can hold
        raise CannotJudgeError(f"{path}: expected values that a report can hold, found: {_cause(error)}") from error
    _expect_whole(path, found, report)
    return report


def _expect_whole(path: Path, found: dict[str, Any], report: Report) -> None:
    """Raise CannotJudgeError unless the report has every check that it needs, and all of it fits together.

    An edited report may have a new digest, but its checks must still be those of its evidence, and its verdict, its
    statuses and its figures must still follow from its numbers.
    """
    # reports of earlier versions do not have it
    made, requested = optional_checks(report), found.get("optional_checks")
    if requested is not None and requested != made:
        said, here = (", ".join(names) or "none" for names in (requested, made))
        raise CannotJudgeError(f"{path}: optional_checks: expected {said}, as it names, found {here} in the report")
    names = [check.name for check in report.checks]
    expected = _contract(report, names)
    if names != expected:
        raise CannotJudgeError(
            f"{path}: checks: expected {', '.join(expected)}, each once, found {', '.join(names)[:200]}"
        )
    follows = {
        "verdict": found["verdict"] == report.verdict,
        "checks": found["checks"] == report.to_dict()["checks"]
        and all(_follows(check, report) for check in report.checks),
    }
    for key, right in follows.items():
        if not right:
            raise CannotJudgeError(f"{path}: {key}: expected what follows from the rest, found something else")
    for contradiction in contradictions(report):
        raise CannotJudgeError(f"{path}: {contradiction}: the report contradicts itself")
    # reports of earlier versions do not have it; last, because a tensor that was changed explains it
    if found.get("model") not in (None, report.to_dict()["model"]):
        raise CannotJudgeError(f"{path}: model: expected what follows from the tensors, found something else")


def _contract(report: Report, names: list[str]) -> list[str]:
    """Return the names of the checks that a verdict needs, in their order. names: of those that the report has.

    A check that could not run is among them, as skipped. `engine` and `baseline` are there only if they were
    requested, `tokenizer` only if there was one to judge, `coverage` only if the policy demands it, `operations` for
    all but a directory. Earlier versions had no `storage`, limited all costs, and did not record what was covered.
    """
    made = checks_made(
        directory=report.file["format"] == "hf",
        engine=report.engine is not None,
        coverage=report.policy.coverage is not None,
        baseline=report.baseline is not None,
        tokenizer=bool(report.tokenizers),
    )
    limited = None not in astuple(report.policy.quantization)
    earlier = "storage" not in names and limited and report.coverage is None
    return [name for name in made if name != "storage" or not earlier]


def _follows(check: CheckResult, report: Report) -> bool:
    """Return whether a check's status follows from its numbers and its policy. A NaN is beyond any limit."""
    if check.observed is not None and check.limit is None:
        unlimited = {*astuple(report.policy.quantization)} == {None}
        return check.status == "pass" and (check.name, check.bound) == ("quantization", "policy") and unlimited
    if check.observed is None or check.limit is None:
        return check.status == "skipped"
    return check.status == ("pass" if check.observed <= check.limit else "fail")


def _report(found: dict[str, Any]) -> Report:
    derived = ("schema", "verdict", "model", "digest", "optional_checks")
    fields = {key: value for key, value in found.items() if key not in derived}
    shares, residual = fields.pop("attribution"), fields.pop("linearity_residual")
    of = fields.pop("attribution_of")
    fields["attribution"] = None if of is None else {**of, "shares": shares, "residual": residual}
    return _converter().structure(fields, Report)  # type: ignore[no-any-return]


def _cause(error: BaseException) -> BaseException:
    """Return the first and innermost error of a group."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error


@cache
def _converter() -> Any:
    """Return a converter from plain data to dataclasses; float() reads "inf" and "nan" back."""
    from cattrs import Converter  # noqa: PLC0415  # only needed here

    return Converter()
