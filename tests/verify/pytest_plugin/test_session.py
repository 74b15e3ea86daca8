"""What pytest collects and reports, hook by hook. Quick: nothing is judged."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from verify.pytest_plugin import session as module
from verify.pytest_plugin.session import JUDGE, Check, CheckedFile, Run, severity

ONE, TWO = Path("one.bin"), Path("two.bin")
CHECK = {"name": "tensors", "status": "pass", "detail": "all bits", "where": {}}
REPORT = {"checks": [{**CHECK, "name": "file"}, CHECK], "diagnosis": None, "file": {"format": "v2"}}
PASSED = {"verdict": "pass", "reason": "2 of 2 checks passed", "blamed": [], "report": REPORT}


def checked(outcome: dict[str, Any], name: str = "tensors", nodeid: str = "d/one.bin") -> Any:
    """Run a check of file number 3; return it, with what pytest was told by an exception."""
    file = object.__new__(type("Named", (CheckedFile,), {"nodeid": nodeid}))
    file.number = 3
    asked: list[Any] = []

    def answer(path: Path, number: int) -> dict[str, Any]:
        asked.append((path, number))
        return outcome

    stash = {JUDGE: SimpleNamespace(outcome=answer)}
    check: Any = SimpleNamespace(
        parent=file, config=SimpleNamespace(stash=stash), path=Path("d/one.bin"), name=name, user_properties=[]
    )
    check.raised = None
    try:
        Check.runtest(check)
    except (pytest.fail.Exception, pytest.skip.Exception) as raised:
        check.raised = raised
    assert asked == [(Path("d/one.bin"), 3)]
    return check


def told(check: Any) -> tuple[type, str, bool] | None:
    """Which exception was raised, its text, and whether pytest would show a traceback of ours."""
    raised = check.raised
    return None if raised is None else (type(raised), raised.msg, raised.pytrace)


FAIL, SKIP = pytest.fail.Exception, pytest.skip.Exception


def test_a_check_that_passed_passes_and_carries_the_verdict() -> None:
    check = checked(PASSED)
    assert check.raised is None
    assert check.user_properties == [
        ("export-and-verify", json.dumps([3, "PASS d/one.bin: 2 of 2 checks passed"])),
    ]
    root = checked(PASSED, nodeid="")
    assert json.loads(root.user_properties[0][1]) == [3, "PASS one.bin: 2 of 2 checks passed"]


def test_a_file_that_cannot_be_judged_fails_with_its_reason() -> None:
    check = checked({"refused": "no such file"})
    assert told(check) == (FAIL, "no such file", False)
    assert json.loads(check.user_properties[0][1]) == [3, "NOT JUDGED d/one.bin: no such file"]


@pytest.mark.parametrize("diagnosis", [None, {"signature": "bit-flipped", "sentence": "one bit is off"}])
def test_a_check_that_is_to_blame_fails_with_what_it_found(diagnosis: dict[str, str] | None) -> None:
    failed = {**CHECK, "status": "fail", "detail": "w [3]: expected 1, found 2", "where": {"tensor": "w"}}
    report = {**REPORT, "checks": [failed], "diagnosis": diagnosis}
    check = checked({"verdict": "fail", "reason": "tensors", "blamed": ["tensors"], "report": report})
    likely = "\nmost likely: one bit is off" if diagnosis else ""
    assert told(check) == (FAIL, f"tensors: w [3]: expected 1, found 2\n  at tensor w{likely}", False)
    assert json.loads(check.user_properties[0][1]) == [3, "FAIL d/one.bin: tensors"]
    # another check of the same file is not to blame
    other = {**report, "checks": [failed, {**CHECK, "name": "file"}]}
    assert checked({"verdict": "fail", "reason": "", "blamed": ["tensors"], "report": other}, "file").raised is None


def test_a_check_that_was_skipped_is_skipped_unless_it_is_to_blame() -> None:
    skipped = {**REPORT, "checks": [{**CHECK, "status": "skipped", "detail": "no text"}]}
    found = checked({**PASSED, "report": skipped})
    assert (type(found.raised), found.raised.msg) == (SKIP, "no text")
    assert told(checked({**PASSED, "report": skipped, "blamed": ["tensors"]})) == (
        FAIL,
        "tensors: skipped: no text",
        False,
    )


def test_a_check_that_the_report_lacks_fails_except_coverage() -> None:
    assert told(checked(PASSED, "operations")) == (FAIL, "operations: expected a verdict, found none", False)
    coverage = checked(PASSED, "coverage")
    assert (type(coverage.raised), coverage.raised.msg) == (
        SKIP,
        "the policy demands no coverage of this file's format, v2",
    )
    there = {**REPORT, "checks": [{**CHECK, "name": "coverage"}]}
    assert checked({**PASSED, "report": there}, "coverage").raised is None


def test_a_check_is_told_by_its_name_and_its_file() -> None:
    check: Any = SimpleNamespace(path=ONE, name="tensors")
    assert Check.reportinfo(check) == (ONE, None, "tensors of one.bin")


class Made:
    """from_parent() of both classes, replaced: what would be made, by its parent and its arguments."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        for one in (CheckedFile, Check):
            monkeypatch.setattr(one, "from_parent", lambda parent, **more: (parent, more))


def test_a_file_collects_the_checks_that_it_will_have(monkeypatch: pytest.MonkeyPatch) -> None:
    Made(monkeypatch)
    asked = SimpleNamespace(checks=lambda path: ("file", path.name))
    file: Any = SimpleNamespace(config=SimpleNamespace(stash={JUDGE: SimpleNamespace(asked=asked)}), path=ONE)
    assert list(CheckedFile.collect(file)) == [(file, {"name": "file"}), (file, {"name": "one.bin"})]


def run_of(*files: Path) -> Any:
    asked: Any = SimpleNamespace(files=files)
    return Run(asked)


def test_only_files_of_the_options_are_collected_with_their_number(monkeypatch: pytest.MonkeyPatch) -> None:
    Made(monkeypatch)
    run = run_of(ONE, TWO)
    assert run.pytest_collect_file(Path("test_a.py"), "parent") is None
    assert run.pytest_collect_file(TWO, "parent") == ("parent", {"path": TWO, "number": 1})


def test_files_that_the_arguments_do_not_name_are_added_before_tests_are_selected(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    Made(monkeypatch)
    named = object.__new__(Check)
    named.path = ONE
    other: Any = SimpleNamespace(path=TWO)
    items = [named, other]
    session: Any = SimpleNamespace(genitems=lambda made: [made])
    run_of(ONE, TWO).pytest_collection_modifyitems(session, items)
    assert items == [named, other, (session, {"path": TWO, "number": 1})]
    assert Run.pytest_collection_modifyitems.pytest_impl["tryfirst"] is True  # type: ignore[attr-defined]


def reported(run: Any, *lines: tuple[int, str]) -> Any:
    properties = [("other", "x"), *(("export-and-verify", json.dumps(line)) for line in lines)]
    run.pytest_runtest_logreport(SimpleNamespace(user_properties=properties))
    return run


class Terminal:
    """Keeps what the summary writes."""

    def __init__(self, *, collectonly: bool = False) -> None:
        self.config = SimpleNamespace(option=SimpleNamespace(collectonly=collectonly))
        self.lines: list[str] = []

    def section(self, title: str) -> None:
        self.lines.append(f"== {title}")

    def write_line(self, line: str) -> None:
        self.lines.append(line)


def summary(run: Any) -> list[str]:
    terminal = Terminal()
    run.pytest_terminal_summary(terminal)
    return terminal.lines


def test_the_summary_has_each_verdict_and_counts_the_files_without_one() -> None:
    run = reported(run_of(ONE, TWO, Path("three.bin")))
    of_none = "NOT JUDGED: expected a verdict on {} more, found that no check of theirs was selected to run"
    assert summary(run) == ["== export-and-verify", of_none.format("3 files")]
    reported(run, (1, "PASS two.bin: x"))
    assert summary(run) == ["== export-and-verify", "PASS two.bin: x", of_none.format("2 files")]
    reported(run, (0, "FAIL one.bin: y"))
    assert summary(run) == [
        "== export-and-verify",
        "PASS two.bin: x",
        "FAIL one.bin: y",
        of_none.format("1 file"),
    ]
    reported(run, (2, "PASS three.bin: z"), (1, "PASS two.bin: again"))
    assert summary(run)[1:] == ["PASS two.bin: again", "FAIL one.bin: y", "PASS three.bin: z"]
    silent = Terminal(collectonly=True)
    run.pytest_terminal_summary(silent)
    assert silent.lines == []


@pytest.mark.parametrize(
    ("lines", "before", "after"),
    [
        ([(0, "PASS one.bin"), (1, "PASS two.bin")], 0, 0),
        ([(0, "PASS one.bin"), (1, "PASS two.bin")], 5, 5),
        ([(0, "PASS one.bin"), (1, "FAIL two.bin")], 0, 1),
        ([(0, "PASS one.bin"), (1, "NOT JUDGED two.bin")], 0, 1),
        ([(0, "PASS one.bin")], 0, 1),
        ([], 5, 1),
        ([], 2, 2),
        ([], 1, 1),
    ],
)
def test_a_session_fails_unless_every_file_passed(lines: list[tuple[int, str]], before: int, after: int) -> None:
    run = reported(run_of(ONE, TWO), *lines)
    for collectonly, worker, expected in ((False, False, after), (True, False, before), (False, True, before)):
        config = SimpleNamespace(option=SimpleNamespace(collectonly=collectonly))
        if worker:
            config.workerinput = {}
        session: Any = SimpleNamespace(config=config, exitstatus=before)
        run.pytest_sessionfinish(session)
        assert session.exitstatus == expected


def test_no_tests_are_less_than_a_failure() -> None:
    assert sorted(pytest.ExitCode, key=severity)[0] == pytest.ExitCode.NO_TESTS_COLLECTED
    assert module.severity(1) == 1
