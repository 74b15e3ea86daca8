"""A pytest plugin: each check of a released file is a test of its own.

    pytest --verify-source model.pt --verify-file model.bin

Every pytest run in the environment loads this module. So it imports nothing but pytest before a check runs, and does
nothing without the options.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from verify.report.finding_lines import Json, finding, likely

CHECKS = ("config", "file", "tensors", "operations", "execution", "storage", "quantization")
# transformers, which runs a directory, records no operations, and a directory keeps the type of every tensor
CHECKS_OF_DIRECTORY = tuple(name for name in CHECKS if name not in ("operations", "storage"))

_JUDGE = pytest.StashKey["Judge"]()
_PROPERTY = "export-and-verify"


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("export-and-verify", "what a llama2.c-style .bin file computes, proved")
    group.addoption("--verify-source", metavar="SOURCE", help="The checkpoint that the files were made from.")
    group.addoption(
        "--verify-file",
        metavar="FILE",
        action="append",
        default=[],
        help="A .bin file or a Hugging Face directory to judge; may be repeated.",
    )
    group.addoption("--verify-policy", metavar="P", help="Thresholds, in TOML. Default: shipped in the package.")
    group.addoption("--verify-depth", metavar="D", default="standard", help="quick, standard (default) or full.")


def pytest_configure(config: pytest.Config) -> None:
    """Raise UsageError for options that cannot be meant."""
    source, files = config.getoption("verify_source"), config.getoption("verify_file")
    if source is None and not files:
        return
    if source is None or not files:
        given, absent = ("--verify-file", "--verify-source") if files else ("--verify-source", "--verify-file")
        raise pytest.UsageError(f"{given}: expected {absent} beside it, found none")
    here = config.invocation_params.dir
    policy = config.getoption("verify_policy")
    for file in files:
        if not (here / file).is_file() and not (here / file / "config.json").is_file():
            raise pytest.UsageError(f"--verify-file: expected a file, found none: {file}")
    if policy is not None and not (here / policy).is_file():
        raise pytest.UsageError(f"--verify-policy: expected a file, found none: {policy}")
    if not (here / source).exists():
        # with one slash it may be a hub id, which only the verifier can decide
        if source.count("/") != 1:
            raise pytest.UsageError(f"--verify-source: expected a checkpoint, found none: {source}")
    else:
        source = here / source
    # as pytest writes paths: without "..", but with a link's own name
    paths = list(dict.fromkeys(Path(os.path.abspath(here / file)) for file in files))  # noqa: PTH100
    judge = Judge(source, policy and here / policy, config.getoption("verify_depth"), _shared(config))
    config.stash[_JUDGE] = judge
    config.pluginmanager.register(_Run(paths), "export-and-verify-run")


def _shared(config: pytest.Config) -> Path | None:
    """Return the prefix of the files that all workers of pytest-xdist share; None without workers."""
    worker: dict[str, str] | None = getattr(config, "workerinput", None)
    own = config.getoption("basetemp")
    # a worker on another machine has no base directory
    if worker is None or own is None:
        return None
    return Path(own).parent / f"export-and-verify-{worker['testrunuid']}"


class Judge:
    """Judges each file once, when its first check runs; of several workers, one does."""

    def __init__(self, source: str | Path, policy: Path | None, depth: str, shared: Path | None) -> None:
        """shared: a path prefix, under which outcomes are stored for the other workers."""
        self._source, self._policy, self._depth, self._shared = source, policy, depth, shared
        self._outcomes: dict[Path, Json] = {}

    def outcome(self, file: Path, number: int) -> Json:
        """{"verdict": pass or fail and "reason", "blamed": names of checks, "report": report.json's content}, or
        {"refused": why there is nothing to judge}. number: the file's own."""
        if file not in self._outcomes:
            self._outcomes[file] = self._judge(file) if self._shared is None else self._first_of_all(file, number)
        return self._outcomes[file]

    def _first_of_all(self, file: Path, number: int) -> Json:
        from filelock import FileLock  # noqa: PLC0415  # needed only here

        kept = Path(f"{self._shared}-{number}.json")
        with FileLock(f"{kept}.lock"):
            if not kept.exists():
                partial = kept.with_suffix(".partial")
                partial.write_text(json.dumps(self._judge(file)), encoding="utf-8")
                # a worker that dies leaves no partial report
                partial.replace(kept)
            outcome: Json = json.loads(kept.read_text(encoding="utf-8"))
        return outcome

    def _judge(self, file: Path) -> Json:
        import reader_c  # noqa: PLC0415  # torch and numpy come with these
        from verify.errors import CannotJudgeError  # noqa: PLC0415
        from verify.evidence import Evidence  # noqa: PLC0415
        from verify.run.options import Options  # noqa: PLC0415
        from verify.verdict import verify  # noqa: PLC0415

        options = Options(policy=self._policy, evidence=Evidence(depth=self._depth))

        try:
            report = verify(self._source, file, options=options)
        except (CannotJudgeError, reader_c.ReaderError) as error:
            return {"refused": " ".join(str(error).split())}
        # if everything was skipped, every check is to blame
        blamed = report.blamed if report.passed or report.blamed else report.checks
        return {
            "verdict": report.verdict,
            "reason": report.reason,
            "blamed": [check.name for check in blamed],
            "report": json.loads(report.to_json()),
        }


class CheckedFile(pytest.File):
    """One file or directory that is judged. number: its place among the files of the options."""

    def __init__(self, *, number: int, **more: Any) -> None:
        super().__init__(**more)
        self.number = number

    def collect(self) -> Iterator[Check]:
        for name in CHECKS_OF_DIRECTORY if self.path.is_dir() else CHECKS:
            yield Check.from_parent(self, name=name)


class Check(pytest.Item):
    """One check of one file."""

    def runtest(self) -> None:
        file = self.parent
        assert isinstance(file, CheckedFile)
        outcome = self.config.stash[_JUDGE].outcome(self.path, file.number)
        refused = outcome.get("refused")
        verdict = "NOT JUDGED" if refused else outcome["verdict"].upper()
        # a property travels with the result from the worker to the process that writes the summary
        # a directory that is pytest's root has no id
        line = f"{verdict} {file.nodeid or self.path.name}: {refused or outcome['reason']}"
        self.user_properties.append((_PROPERTY, json.dumps([file.number, line])))
        if refused:
            pytest.fail(refused, pytrace=False)
        check = next((check for check in outcome["report"]["checks"] if check["name"] == self.name), None)
        if check is None:
            pytest.fail(f"{self.name}: expected a verdict, found none", pytrace=False)
        if self.name in outcome["blamed"]:
            pytest.fail(finding(check) + likely(outcome["report"]), pytrace=False)
        if check["status"] == "skipped":
            pytest.skip(check["detail"])

    def reportinfo(self) -> tuple[Path, None, str]:
        # not the end of the id: pytest would read its dots as those of a module
        return self.path, None, f"{self.name} of {self.path.name}"


class _Run:
    """The hooks of a run with files to judge."""

    def __init__(self, files: list[Path]) -> None:
        self._files = files
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
            session.exitstatus = max(session.exitstatus, pytest.ExitCode.TESTS_FAILED, key=_severity)

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


def _severity(status: int) -> int:
    """Order exit statuses: a run without tests counts as less than one with a failure."""
    return -1 if status == pytest.ExitCode.NO_TESTS_COLLECTED else int(status)
