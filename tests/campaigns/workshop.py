"""A copy of the tree in which a mutant is tried, by a fork of a process that has imported what takes long."""

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
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pytest
from deciding import ROOT
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
_PATIENCE, _LEAST_SECONDS = 10.0, 10.0
_WAITS = 12.0

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


def tried(mutant: Mutant, tests: list[str], ends: float) -> str | None:
    """Return what noticed: a test's name, "a crash" or "a hang"; "" if nothing did; None if the time was over."""
    if time.monotonic() > ends:
        return None
    _run_on_right_code([test for test in tests if test not in _file_seconds])
    path = _place / mutant.module
    right = path.read_text(encoding="utf-8")
    path.write_text(mutant.code, encoding="utf-8")
    try:
        return _noticed(tests)
    finally:
        path.write_text(right, encoding="utf-8")


def _run_on_right_code(tests: list[str]) -> None:
    """Learn how long tests take. They must pass."""
    for test in tests:
        began = _computed()
        if noticed := _noticed_by(test, 600.0):
            sys.exit(f"the tests fail on the code as it is: {noticed}: {(_place / 'output').read_text()[-2000:]}")
        _file_seconds[test] = _computed() - began
        _test_seconds.update(json.loads((_place / "seconds").read_text(encoding="utf-8")))


def _computed() -> float:
    """Return the processor seconds of all trials up to now."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def _noticed(tests: list[str]) -> str:
    """One file after another, because each takes time to import; first those that notice most in a second."""

    def a_second(tests: str) -> float:
        noticed = sum(count for test, count in _noticed_mutants.items() if test.startswith(tests))
        return (1 + noticed) / _file_seconds[tests]

    for test in sorted(tests, key=a_second, reverse=True):
        if found := _noticed_by(test, max(_LEAST_SECONDS, _PATIENCE * _file_seconds[test])):
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
    if process.exitcode == 0:
        return ""
    if process.exitcode == -signal.SIGXCPU:
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


def _run(test: str, limit: float) -> None:
    """Run tests in this process, which ends with their status, or when it has computed for so many seconds."""
    resource.setrlimit(resource.RLIMIT_CPU, (math.ceil(limit), resource.RLIM_INFINITY))
    os.chdir(_place)
    sys.path.insert(0, str(_place))
    output = os.open("output", os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(output, 1)
    os.dup2(output, 2)
    # what is imported already cannot be rewritten, and pytest warns of it
    flags = ["-q", "-x", "--no-header", "-p", "no:cacheprovider", "-W", "ignore::pytest.PytestAssertRewriteWarning"]
    for name in _PLUGINS_LEFT_OUT:
        flags += ["-p", f"no:{name}"]
    status = pytest.main([*flags, f"--basetemp={_place / 'tmp'}", test], plugins=[_LikeliestFirst()])
    os._exit(status)
