"""Golden vectors in pytest: a test of its own for an engine on disk, and a fixture for one that Python calls."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from verify.pytest_plugin.options import engine_of, given_of
from verify.pytest_plugin.session import severity

_PROPERTY = "export-and-verify-vectors"


@dataclass(frozen=True)
class AskedVectors:
    """What --verify-vectors asks for. file: the .bin file that an engine on disk reads; None if no engine is to be
    run but by tests. given: the other options by name, without the prefix."""

    path: Path
    file: Path | None
    given: dict[str, Any]

    def check(self) -> str:
        """Compare the engine, or this package's reader without one; return what was compared. Raises AssertionError
        for a logit beyond the limit, CannotJudgeError or EngineFailedError."""
        from verify.vectors.asserting import failure, success  # noqa: PLC0415  # torch and numpy come with these
        from verify.vectors.checking import check_engine, check_reader, read_vectors  # noqa: PLC0415

        assert self.file is not None
        known, engine = read_vectors(self.path), engine_of(self.given)
        found = check_reader(known, self.file) if engine is None else check_engine(known, engine, self.file)
        if not found.passed:
            raise AssertionError(failure(found, known))
        return success(found, known, int8=engine is not None and engine.activations == "q8")


VECTORS = pytest.StashKey[AskedVectors]()


def asked_vectors(config: pytest.Config) -> AskedVectors | None:
    """Return what --verify-vectors asks for, None without it. Raises UsageError."""
    path, files = config.getoption("verify_vectors"), config.getoption("verify_file")
    if path is None:
        return None
    here = config.invocation_params.dir
    if not (here / path).is_file():
        raise pytest.UsageError(f"--verify-vectors: expected a file, found none: {path}")
    if len(files) > 1:
        raise pytest.UsageError(f"--verify-vectors: expected one --verify-file, found {len(files)}")
    if files and not (here / files[0]).is_file():
        raise pytest.UsageError(f"--verify-file: expected a file, found none: {files[0]}")
    given = given_of(config, here)
    for name in ("engine", "engine_command"):
        if given[name] is not None and not files:
            option = f"--verify-{name.replace('_', '-')}"
            raise pytest.UsageError(f"{option}: expected --verify-file beside it, found none")
    # as pytest writes paths: without "..", but with a link's own name
    whole = [Path(os.path.abspath(here / one)) for one in (path, *files)]  # noqa: PTH100
    return AskedVectors(whole[0], whole[1] if files else None, given)


class VectorsFile(pytest.File):
    """A file of golden vectors, which an engine on disk is held to."""

    def collect(self) -> Iterator[VectorsItem]:
        yield VectorsItem.from_parent(self, name="vectors")


class VectorsItem(pytest.Item):
    """The comparison of an engine on disk with the vectors."""

    def runtest(self) -> None:
        import reader_c  # noqa: PLC0415  # torch and numpy come with these
        from verify.engine.command import EngineFailedError  # noqa: PLC0415  # as above
        from verify.errors import CannotJudgeError  # noqa: PLC0415  # as above

        asked = self.config.stash[VECTORS]
        try:
            _carry_verdict(self, asked.path, asked.check)
        except EngineFailedError as error:
            pytest.fail(f"the engine failed: {error}", pytrace=False)
        except (AssertionError, CannotJudgeError, reader_c.ReaderError, OSError) as error:
            pytest.fail(str(error), pytrace=False)

    def reportinfo(self) -> tuple[Path, None, str]:
        return self.path, None, f"vectors of {self.path.name}"


def assertion_for(request: pytest.FixtureRequest) -> Iterator[Callable[..., None]]:
    """Yield what the fixture is: a function that fails a test unless an engine gives the logits of --verify-vectors.

    A test that has the fixture and does not call it fails, because nothing was compared.
    """
    asked = request.config.stash.get(VECTORS, None)
    if asked is None:
        pytest.fail("assert_golden_vectors: expected --verify-vectors FILE, found none", pytrace=False)
    called = []

    def assert_golden_vectors(engine: Callable[..., Any], *, int8: bool = False) -> None:
        __tracebackhide__ = True
        from verify.vectors.asserting import assert_vectors, success  # noqa: PLC0415  # torch and numpy come with these
        from verify.vectors.checking import read_vectors  # noqa: PLC0415

        def compare() -> str:
            __tracebackhide__ = True
            known = read_vectors(asked.path)
            return success(assert_vectors(known, engine, int8=int8), known, int8=int8)

        called.append(engine)
        _carry_verdict(request.node, asked.path, compare)

    yield assert_golden_vectors
    if not called:
        pytest.fail("assert_golden_vectors: expected a call with an engine, found none in this test", pytrace=False)


def _carry_verdict(item: pytest.Item, path: Path, compare: Callable[[], str]) -> None:
    """Compare, and let the item's report carry the verdict from a worker to the process that writes the summary."""
    __tracebackhide__ = True
    try:
        said = compare()
    except Exception as error:
        from verify.engine.command import EngineFailedError  # noqa: PLC0415  # imported before

        verdict = "FAIL" if isinstance(error, (AssertionError, EngineFailedError)) else "NOT JUDGED"
        item.user_properties.append((_PROPERTY, f"{verdict} {path.name}: {' '.join(str(error).split())}"))
        raise
    item.user_properties.append((_PROPERTY, f"PASS {path.name}: {said}"))


class VectorsRun:
    """The hooks of a run with golden vectors."""

    def __init__(self, asked: AskedVectors) -> None:
        self._asked = asked
        self._verdicts: list[str] = []

    def pytest_collect_file(self, file_path: Path, parent: pytest.Collector) -> VectorsFile | None:
        """Collect the vectors where the arguments name them and an engine on disk is to be run."""
        if file_path != self._asked.path or self._asked.file is None:
            return None
        return VectorsFile.from_parent(parent, path=file_path)

    # before -k and similar options select tests
    @pytest.hookimpl(tryfirst=True)
    def pytest_collection_modifyitems(self, session: pytest.Session, items: list[pytest.Item]) -> None:
        """Add the comparison if the arguments do not name it."""
        if self._asked.file is not None and not any(isinstance(item, VectorsItem) for item in items):
            items += session.genitems(VectorsFile.from_parent(session, path=self._asked.path))

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.when == "call":
            self._verdicts += [str(line) for name, line in report.user_properties if name == _PROPERTY]

    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        """Fail the session if nothing was compared, or a comparison failed."""
        if session.config.option.collectonly or hasattr(session.config, "workerinput"):
            return
        if not self._verdicts or not all(line.startswith("PASS") for line in self._verdicts):
            session.exitstatus = max(session.exitstatus, pytest.ExitCode.TESTS_FAILED, key=severity)

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        if terminalreporter.config.option.collectonly:
            return
        terminalreporter.section("golden vectors")
        for line in self._verdicts:
            terminalreporter.write_line(line)
        if not self._verdicts:
            terminalreporter.write_line(
                f"NOT JUDGED {self._asked.path.name}: expected an engine to be compared, found none: give its "
                "--verify-file, or select a test with the fixture assert_golden_vectors"
            )
