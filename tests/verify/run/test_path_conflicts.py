"""A report takes the place of no file that a run reads or makes, by whatever name that file is reached."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from verify.errors import CannotJudgeError
from verify.report.files import NAMES
from verify.run.path_conflicts import refuse_conflicts, refuse_replacing, report_dirs
from verify.sources import Source, open_source


@pytest.fixture
def opened(source: Path) -> Source:
    return open_source(source)


def aliases(path: Path, directory: Path) -> list[Path]:
    """Names of one file: its own, one through .., a link, and a second name."""
    directory.mkdir()
    (directory / "link").symlink_to(path)
    os.link(path, directory / "second")
    return [path, directory / ".." / path.relative_to(directory.parent), directory / "link", directory / "second"]


def test_a_file_is_not_compared_with_itself(opened: Source, good: Path, tmp_path: Path) -> None:
    refuse_conflicts(good, opened, None, [])
    for name in aliases(opened.path, tmp_path / "names"):
        with pytest.raises(CannotJudgeError, match="expected another file than the source, found the source itself"):
            refuse_conflicts(name, opened, None, [])


def test_a_report_replaces_no_input(opened: Source, good: Path, tmp_path: Path) -> None:
    report = tmp_path / "report"
    report.mkdir()
    refuse_conflicts(good, opened, report, [tmp_path / "policy.toml", None])
    for name in NAMES:
        for given in (report / name, tmp_path / "names" / ".." / "report" / name):
            (tmp_path / "names").mkdir(exist_ok=True)
            with pytest.raises(CannotJudgeError, match=rf"report/{name}: expected a place for the report alone"):
                refuse_conflicts(good, opened, report, [given])
    (report / NAMES[0]).symlink_to(good)
    with pytest.raises(CannotJudgeError, match="which the report would replace"):
        refuse_conflicts(good, opened, report, [])


def test_a_directory_of_reports_is_no_file_that_is_wanted(tmp_path: Path) -> None:
    refuse_replacing(None, [tmp_path])
    with pytest.raises(CannotJudgeError, match="expected a place for the report alone"):
        refuse_replacing(tmp_path / "report", [tmp_path / "report"])


def test_a_baseline_may_stand_where_the_next_passing_report_goes(tmp_path: Path) -> None:
    out = tmp_path / "model.bin"
    passed, failed = report_dirs(out, None, [], tmp_path / "model.bin.report" / "report.json")
    assert (passed, failed) == (tmp_path / "model.bin.report", tmp_path / "model.bin.rejected")
    with pytest.raises(CannotJudgeError, match="which the report would replace"):
        report_dirs(out, None, [], failed / "report.json")
    assert report_dirs(out, tmp_path / "both", [], None) == (tmp_path / "both", tmp_path / "both")
    with pytest.raises(CannotJudgeError, match="which the report would replace"):
        report_dirs(tmp_path / "both", tmp_path / "both", [], None)
