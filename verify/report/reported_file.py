"""Check that a file or a directory is the one that a saved report is about."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from verify.checks.directory.file_set import FileSet
from verify.errors import CannotJudgeError
from verify.system.reading import check_regular


def expect_reported(said: Mapping[str, Any], file: Path, report: Path) -> None:
    """Hash the file again. Raises CannotJudgeError unless it has the size and the digests of the report's `file`.

    said: that part of the report. report: its path, for messages.
    """
    if said["format"] == "hf":
        _expect_directory(said["files"], file, report)
    else:
        _expect_file(said, file, report)


def _expect_file(said: Mapping[str, Any], file: Path, report: Path) -> None:
    try:
        check_regular(file)
        with file.open("rb") as content:
            size = os.fstat(content.fileno()).st_size
            if size != said["bytes"]:
                raise _another(file, "size", f"{said['bytes']} bytes", f"{size} bytes", report)
            digest = hashlib.file_digest(content, "sha256").hexdigest()
    except OSError as error:
        raise CannotJudgeError(
            f"{file}: expected the file that {report} is about, found: {(error.strerror or str(error)).lower()}"
        ) from error
    if digest != said["sha256"]:
        raise _another(file, "sha256", said["sha256"], digest, report)


def _expect_directory(said: Mapping[str, str], directory: Path, report: Path) -> None:
    if not directory.is_dir():
        raise CannotJudgeError(f"{directory}: expected the directory that {report} is about, found none")
    found = FileSet(directory).digests
    for name in sorted(said.keys() | found.keys()):
        expected, digest = said.get(name, "no such file"), found.get(name, "no such file")
        if expected != digest:
            raise _another(directory / name, "sha256", expected, digest, report)


def _another(place: Path, field: str, expected: str, found: str, report: Path) -> CannotJudgeError:
    what = f"expected {expected}, as {report} says, found {found}"
    return CannotJudgeError(f"{place}: {field}: {what}: give the file that the report is about")
