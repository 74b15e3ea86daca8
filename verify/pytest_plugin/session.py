"""What pytest collects and reports: the files, their checks, and the verdict on the session."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from verify.pytest_plugin.judge import Judge
from verify.pytest_plugin.options import Asked
from verify.report.finding_lines import finding, likely

JUDGE = pytest.StashKey[Judge]()
_PROPERTY = "export-and-verify"


class CheckedFile(pytest.File):
    """One file or directory that is judged. number: its place among the files of the options."""

    def __init__(self, *, number: int, **more: Any) -> None:
        super().__init__(**more)
        self.number = number

    def collect(self) -> Iterator[Check]:
        for name in self.config.stash[JUDGE].asked.checks(self.path):
            yield Check.from_parent(self, name=name)


class Check(pytest.Item):
    """One check of one file."""

    def runtest(self) -> None:
        file = self.parent
        assert isinstance(file, CheckedFile)
        outcome = self.config.stash[JUDGE].outcome(self.path, file.number)
        refused = outcome.get("refused")
        verdict = "NOT JUDGED" if refused else outcome["verdict"].upper()
        # a property travels with the result from the worker to the process that writes the summary
        # a directory that is pytest's root has no id
        line = f"{verdict} {file.nodeid or self.path.name}: {refused or outcome['reason']}"
        self.user_properties.append((_PROPERTY, json.dumps([file.number, line])))
        if refused:
            pytest.fail(refused, pytrace=False)
        check = next((check for check in outcome["report"]["checks"] if check["name"] == self.name), None)
        if check is None and self.name == "coverage":
            pytest.skip(
                f"the policy demands no coverage of this file's format, {outcome['report']['file']['format']}"
            )
        if check is None:
            pytest.fail(f"{self.name}: expected a verdict, found none", pytrace=False)
        if self.name in outcome["blamed"]:
            pytest.fail(finding(check) + likely(outcome["report"]), pytrace=False)
        if check["status"] == "skipped":
            pytest.skip(check["detail"])

    def reportinfo(self) -> tuple[Path, None, str]:
        # not the end of the id: pytest would read its dots as those of a module
        return self.path, None, f"{self.name} of {self.path.name}"


class Run:
    """The hooks of a run with files to judge."""

    def __init__(self, asked: Asked) -> None:
        self._files = asked.files
        self._verdicts: dict[int, str] = {}

    def pytest_collect_file(self, file_path: Path, parent: pytest.Collector) -> CheckedFile | None:
        """Collect a file that the arguments name, as model.bin::tensors does."""
        if file_path not in self._files:
            return None
        return CheckedFile.from_parent(parent, path=file_path, number=self._files.index(file_path))

    # before -k and similar options select tests
    @pytest.hookimpl(tryfirst=True)
    def pytest_collection_modifyitems(self, session: pytest.Session, items: list[pytest.Item]) -> None:
        """Add the files that the arguments do not name."""
        collected = {item.path for item in items if isinstance(item, Check)}
        for number, path in enumerate(self._files):
            if path not in collected:
                items += session.genitems(CheckedFile.from_parent(session, path=path, number=number))

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        for name, line in report.user_properties:
            if name == _PROPERTY:
                number, verdict = json.loads(str(line))
                self._verdicts[number] = verdict

    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        """Fail the session if a file did not pass, whichever of its checks ran, or was not judged at all."""
        if session.config.option.collectonly:
            return
        if len(self._passed) < len(self._files) and not hasattr(session.config, "workerinput"):
            session.exitstatus = max(session.exitstatus, pytest.ExitCode.TESTS_FAILED, key=severity)

    @property
    def _passed(self) -> list[int]:
        return [number for number, verdict in self._verdicts.items() if verdict.startswith("PASS")]

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        if terminalreporter.config.option.collectonly:
            return
        terminalreporter.section("export-and-verify")
        for verdict in self._verdicts.values():
            terminalreporter.write_line(verdict)
        if missing := len(self._files) - len(self._verdicts):
            files = "1 file" if missing == 1 else f"{missing} files"
            terminalreporter.write_line(
                f"NOT JUDGED: expected a verdict on {files} more, found that no check of theirs was selected to run"
            )


def severity(status: int) -> int:
    """Order exit statuses: a run without tests counts as less than one with a failure."""
    return -1 if status == pytest.ExitCode.NO_TESTS_COLLECTED else int(status)
