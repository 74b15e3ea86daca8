"""Path conflicts: the files that a run reads, judges and writes must differ, whatever names lead to them."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from verify.errors import CannotJudgeError
from verify.report.files import PLACES

if TYPE_CHECKING:
    from verify.sources import Source


Name = str | os.PathLike[str]


def refuse_conflicts(file: Name, source: Source, report_dir: Name | None, others: Iterable[Name | None]) -> None:
    """Raise CannotJudgeError if file is one of the source's own files, so that nothing would be compared, or if a
    report in report_dir would replace any of these files or of the others."""
    of_source = [source.path if name == source.path.name else source.path / name for name in source.files]
    itself = _keys(Path(file))
    if any(itself & _keys(path) for path in of_source):
        raise CannotJudgeError(f"{os.fspath(file)}: expected another file than the source, found the source itself")
    refuse_replacing(report_dir, [file, *of_source, *others])


def refuse_directory_conflicts(
    directory: Path, names: Iterable[str], source: Source, report_dir: Name | None, others: Iterable[Name | None]
) -> None:
    """Raise CannotJudgeError as refuse_conflicts() does, for each file of a directory, and if the report would stand
    in the directory, whose files are the release."""
    refuse_inside(report_dir, directory)
    others = list(others)
    for name in names:
        refuse_conflicts(directory / name, source, report_dir, others)


def refuse_inside(report_dir: Name | None, directory: Path) -> None:
    """Raise CannotJudgeError if report_dir is the directory or in it."""
    if report_dir is None:
        return
    place, around = Path(report_dir).resolve(), directory.resolve()
    if around in (place, *place.parents):
        raise CannotJudgeError(f"{report_dir}: expected a place outside {directory}, for the report, found it inside")


def refuse_replacing(directory: Name | None, needed: Iterable[Name | None]) -> None:
    """Raise CannotJudgeError if a report in directory would replace a needed file. None: no directory, or no file."""
    if directory is None:
        return
    places = [Path(directory), *(Path(directory) / name for name in PLACES)]
    taken = {key: place for place in places for key in _keys(place)}
    for path in needed:
        for key in _keys(Path(path)) & taken.keys() if path is not None else ():
            raise CannotJudgeError(
                f"{taken[key]}: expected a place for the report alone, found {path}, which the report would replace"
            )


def report_dirs(
    out: Path, directory: Path | None, needed: Iterable[Name | None], baseline: Name | None
) -> tuple[Path, Path]:
    """Return the directories for the report of a release that passes and of one that fails.

    The baseline may stand in out.report: it belongs to the last release, and only the next release that passes
    replaces it. Raises CannotJudgeError if a report would replace out or a needed file.
    """
    passed, failed = (directory or out.with_name(f"{out.name}.{kind}") for kind in ("report", "rejected"))
    refuse_replacing(passed, [out, *needed])
    refuse_replacing(failed, [out, *needed, baseline])
    return passed, failed


def _keys(path: Path) -> set[object]:
    """The keys that identify a file: where its name stands, where that leads and, if it exists, its inode."""
    keys: set[object] = {os.path.join(os.path.realpath(path.parent), path.name), os.path.realpath(path)}  # noqa: PTH118
    with contextlib.suppress(OSError):
        found = path.stat()
        keys.add((found.st_dev, found.st_ino))
    return keys
