"""A copy of the tree in which a mutant is tried, by a fork of a process that has imported what takes long.

A file of tests is collected once. For each mutant its process forks, and the fork exchanges the functions that
differ. A mutant that no test notices so is tried again by a fork that imports our code anew, if it may change what
importing and collecting compute.
"""

from __future__ import annotations

import compileall
import gc
import importlib
import json
import math
import multiprocessing
import os
import py_compile
import re
import resource
import select
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from multiprocessing.connection import Connection
from multiprocessing.util import Finalize
from pathlib import Path

import pytest
from deciding import ROOT
from exchange import Called, NotExchangeableError, changes, functions_of
from mutations import Mutant

# Long imports of what the tests use. Nothing of ours: that must come from the copy.
_WARM = (
    *("torch", "numpy", "scipy.stats", "pytest", "hypothesis.extra.numpy", "ml_dtypes", "safetensors.torch"),
    *("cattrs", "jinja2", "jsonschema", "junitparser", "blake3", "cffi", "click", "rich.progress", "filelock"),
    *("transformers.modeling_utils", "transformers.models.llama.modeling_llama", "tokenizers"),
)
# Plugins of other packages, which none of the tests use: each trial would load them again.
_PLUGINS_LEFT_OUT = ("anyio", "platformdirs", "xdist", "xdist.looponfail")
# How many times as long as on the right code a file of tests may compute; a mutant may compute for ever. The clock on
# the wall has more patience, because other programs may need the processor: it ends those that only wait.
_PATIENCE, _LEAST_SECONDS = 10.0, 5.0
_WAITS = 24.0

_place = Path()
# What the trials up to now tell of where to look first: how long each file and each test takes on the right code, and
# how many mutants each noticed.
_file_seconds: dict[str, float] = {}
_test_seconds: dict[str, float] = {}
_noticed_mutants: Counter[str] = Counter()


def open_workshop(room: Path) -> None:
    """Copy what git knows or would add, and the compiled reader."""
    global _place  # noqa: PLW0603  # one workshop a process
    _place = room / str(os.getpid())
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    names = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout.split("\0")
    for name in [*filter(None, names), *(str(p.relative_to(ROOT)) for p in ROOT.glob("reader_c/_reader*.so"))]:
        if (ROOT / name).is_file():
            (_place / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, _place / name)
    # by hash, because a mutant may have the size and the second of the file that it replaces
    checked = py_compile.PycInvalidationMode.CHECKED_HASH
    for package in ("exporter", "reader_c", "verify"):
        compileall.compile_dir(_place / package, quiet=2, invalidation_mode=checked)
    os.environ |= {"OMP_NUM_THREADS": "1", "HYPOTHESIS_PROFILE": "mutants"}
    # otherwise each fork would compile its plugins and rewritten tests again
    sys.dont_write_bytecode = False
    for name in _WARM:
        importlib.import_module(name)
    nothing = room / f"{os.getpid()}_nothing.py"
    nothing.write_text("", encoding="utf-8")
    # loads pytest's plugins, but ours, which must come from the copy
    flags = ("-qq", "--co", "-p", "no:cacheprovider", "-p", "no:export_and_verify", "-W", "ignore", "-c", "/dev/null")
    pytest.main([*flags, str(nothing)])
    gc.freeze()  # what is imported here stays: no trial has to search it for garbage
    Finalize(None, _close_other_servers, exitpriority=1)


def tried(mutant: Mutant, tests: list[str], ends: float) -> str | None:
    """Return what noticed: a test's name, "a crash" or "a hang"; "" if nothing did; None if the time was over."""
    if time.monotonic() > ends:
        return None
    path = _place / mutant.module
    right = path.read_text(encoding="utf-8")
    _close_other_servers(mutant.module)
    servers = {test: _server(mutant.module, test) for test in tests}
    # for processes that tests start, too
    path.write_text(mutant.code, encoding="utf-8")
    try:
        noticed = _noticed(tests, lambda test, limit: servers[test].noticed(mutant.code, limit))
        if noticed or all(server.sure for server in servers.values()):
            return noticed
        return _noticed(tests, _noticed_by)
    finally:
        path.write_text(right, encoding="utf-8")


def _must_pass(noticed: str) -> None:
    if noticed:
        sys.exit(f"the tests fail on the code as it is: {noticed}: {(_place / 'output').read_text()[-2000:]}")


def _noticed(tests: list[str], noticed_by: Callable[[str, float], str]) -> str:
    """One file after another, because each takes time to import; first those that notice most in a second."""

    def a_second(tests: str) -> float:
        noticed = sum(count for test, count in _noticed_mutants.items() if test.startswith(tests))
        return (1 + noticed) / _file_seconds[tests]

    for test in sorted(tests, key=a_second, reverse=True):
        if found := noticed_by(test, max(_LEAST_SECONDS, _PATIENCE * _file_seconds[test])):
            _noticed_mutants[found] += 1
            return found
    return ""


def _noticed_by(test: str, limit: float) -> str:
    process = multiprocessing.get_context("fork").Process(target=_run, args=(test, limit))
    process.start()
    process.join(_WAITS * limit)
    if process.is_alive():
        process.kill()
        process.join()
        return "a hang"
    return _fate(process.exitcode or 0)


def _fate(exitcode: int) -> str:
    """Say what ended a fork. exitcode: as multiprocessing has it."""
    if exitcode == 0:
        return ""
    if exitcode in (-signal.SIGXCPU, -signal.SIGKILL):
        return "a hang"
    output = (_place / "output").read_text(encoding="utf-8", errors="replace")
    found = re.search(r"^(?:FAILED|ERROR) (\S+)", output, flags=re.MULTILINE)
    return found[1] if found else "a crash"


class _LikeliestFirst:
    """Run the tests that noticed other mutants first, then the fast ones, and keep the seconds that each took."""

    def __init__(self) -> None:
        self._seconds = Counter[str]()

    @staticmethod
    def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
        names = {item: item.nodeid.split(" ")[0] for item in items}
        items.sort(key=lambda item: (-_noticed_mutants[names[item]], _test_seconds.get(names[item], 0.0)))

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        self._seconds[report.nodeid.split(" ")[0]] += report.duration

    def pytest_sessionfinish(self) -> None:
        (_place / "seconds").write_text(json.dumps(self._seconds), encoding="utf-8")


class _Server:
    """A process that has collected a file of tests and runs them in forks, on a module's text or on another.

    sure: whether the last run would be the same if our code were imported anew. seconds: that it computed.
    """

    def __init__(self, module: str, test: str) -> None:
        self.sure, self.seconds = False, 0.0
        self._asks, answers = multiprocessing.Pipe()
        self._process = multiprocessing.get_context("fork").Process(target=_serve, args=(test, module, answers))
        self._process.start()
        answers.close()
        _must_pass(self.noticed((_place / module).read_text(encoding="utf-8"), 600.0))
        _file_seconds[test] = self.seconds
        _test_seconds.update(json.loads((_place / "seconds").read_text(encoding="utf-8")))

    def noticed(self, text: str, limit: float) -> str:
        """Return what noticed that the module has another text; "" if nothing did, or this cannot be exchanged."""
        self._asks.send((text, limit, _noticed_mutants))
        exitcode, self.sure, self.seconds = self._asks.recv()
        return _fate(exitcode)

    def close(self) -> None:
        self._asks.send(None)
        self._process.join()


def _server(module: str, test: str) -> _Server:
    if (module, test) not in _servers:
        _servers[module, test] = _Server(module, test)
    return _servers[module, test]


def _close_other_servers(module: str = "") -> None:
    for key in [key for key in _servers if key[0] != module]:
        _servers.pop(key).close()


_servers: dict[tuple[str, str], _Server] = {}


def _serve(test: str, module: str, answers: Connection) -> None:
    _run(test, 1e6, _Serving(_place / module, answers))


class _Serving:
    """Fork for each text of a module instead of running the tests that are collected."""

    def __init__(self, module: Path, answers: Connection) -> None:
        self._module, self._answers, self._called = module, answers, Called(module)

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtestloop(self, session: pytest.Session) -> None:
        """Return in forks alone, which then run the tests."""
        self._called.end()
        functions, right = functions_of(self._module), self._module.read_text(encoding="utf-8")
        gc.freeze()
        while asked := self._answers.recv():
            text, limit, noticed = asked
            try:
                found = changes(functions, right, text)
            except NotExchangeableError:
                self._answers.send((0, False, 0.0))
                continue
            sure = not any(function.__code__ in self._called.codes for function, _ in found)
            if (child := os.fork()) == 0:
                _noticed_mutants.clear()
                _noticed_mutants.update(noticed)
                _LikeliestFirst.pytest_collection_modifyitems(session.items)
                _begin(limit)
                for function, code in found:
                    function.__code__ = code
                return
            exitcode, seconds = _ended(child, _WAITS * limit)
            self._answers.send((exitcode, sure, seconds))
        os._exit(0)


def _begin(limit: float) -> None:
    """Let this process compute so many seconds, and begin its output anew."""
    resource.setrlimit(resource.RLIMIT_CPU, (math.ceil(limit), resource.RLIM_INFINITY))
    os.ftruncate(1, 0)
    os.lseek(1, 0, os.SEEK_SET)


def _ended(child: int, seconds: float) -> tuple[int, float]:
    """Wait for a process, and kill it if that takes longer. Return its exit code and what it computed, in seconds."""
    ends = os.pidfd_open(child)
    if not select.select([ends], [], [], seconds)[0]:
        os.kill(child, signal.SIGKILL)
    os.close(ends)
    _, status, used = os.wait4(child, 0)
    return os.waitstatus_to_exitcode(status), used.ru_utime + used.ru_stime


def _run(test: str, limit: float, *plugins: object) -> None:
    """Run tests in this process, which ends with their status, or when it has computed for so many seconds."""
    os.chdir(_place)
    sys.path.insert(0, str(_place))
    output = os.open("output", os.O_WRONLY | os.O_CREAT)
    os.dup2(output, 1)
    os.dup2(output, 2)
    _begin(limit)
    # what is imported already cannot be rewritten, and pytest warns of it
    flags = ["-q", "-x", "--no-header", "-p", "no:cacheprovider", "-W", "ignore::pytest.PytestAssertRewriteWarning"]
    for name in _PLUGINS_LEFT_OUT:
        flags += ["-p", f"no:{name}"]
    status = pytest.main([*flags, f"--basetemp={_place / 'tmp'}", test], plugins=[_LikeliestFirst(), *plugins])
    os._exit(status)
