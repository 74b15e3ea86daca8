"""What a run reads, what it judges and what it writes are different files, by whatever names they are reached."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from verify.errors import CannotJudgeError
from verify.report.files import NAMES

if TYPE_CHECKING:
    from verify.sources import Source


Name = str | os.PathLike[str]


def check_apart(file: Name, source: Source, reports: Name | None, others: Iterable[Name | None]) -> None:
    """Raise CannotJudgeError where file is one of the source's own, so that nothing would be compared, or where a
    report in the directory would take the place of one of these or of the others."""
    of_source = [source.path if name == source.path.name else source.path / name for name in source.files]
    itself = _keys(Path(file))
    if any(itself & _keys(path) for path in of_source):
        raise CannotJudgeError(f"{os.fspath(file)}: expected another file than the source, found the source itself")
    check_reports(reports, [file, *of_source, *others])


def check_reports(directory: Name | None, wanted: Iterable[Name | None]) -> None:
    """Raise CannotJudgeError where a report in directory would take the place of a file that is wanted for itself.
    None: there is no such directory, or file."""
    if directory is None:
        return
    places = [Path(directory), *(Path(directory) / name for name in NAMES)]
    taken = {key: place for place in places for key in _keys(place)}
    for path in wanted:
        for key in _keys(Path(path)) & taken.keys() if path is not None else ():
            raise CannotJudgeError(
                f"{taken[key]}: expected a place for the report alone, found {path}, which it would replace"
            )


def reports_of(
    out: Path, directory: Path | None, wanted: Iterable[Path | None], baseline: Path | None
) -> tuple[Path, Path]:
    """Directories for the report of a release that passes and of one that fails. Raises CannotJudgeError where a
    report there would take the place of out or of a file that is wanted.

    The baseline may stand in out.report: it is the last release's, and only the next one that passes takes its place.
    """
    passed, failed = (directory or out.with_name(f"{out.name}.{kind}") for kind in ("report", "rejected"))
    check_reports(passed, [out, *wanted])
    check_reports(failed, [out, *wanted, baseline])
    return passed, failed


def _keys(path: Path) -> set[object]:
    """What a file is told by: where its name stands, where that leads, and, if it is there, itself."""
    keys: set[object] = {os.path.join(os.path.realpath(path.parent), path.name), os.path.realpath(path)}  # noqa: PTH118
    with contextlib.suppress(OSError):
        found = path.stat()
        keys.add((found.st_dev, found.st_ino))
    return keys
