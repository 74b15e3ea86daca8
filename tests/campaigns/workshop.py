"""A copy of the tree in which a mutant is tried, by a fork of a process that has imported what takes long."""

from __future__ import annotations

import compileall
import gc
import importlib
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
# How many times as long as on the right code the tests may compute; a mutant may compute for ever. The clock on the
# wall has more patience, because other programs may need the processor: it ends those that only wait.
_PATIENCE, _LEAST_SECONDS = 10.0, 30.0
_WAITS = 4.0

_place = Path()
_healthy: dict[tuple[str, ...], float] = {}


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
    os.environ |= {"OMP_NUM_THREADS": "1", "HYPOTHESIS_PROFILE": "ci"}
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
    limit = max(_LEAST_SECONDS, _PATIENCE * _seconds_on_right_code(tuple(tests)))
    path = _place / mutant.module
    right = path.read_text(encoding="utf-8")
    path.write_text(mutant.code, encoding="utf-8")
    try:
        return _noticed(tests, limit)
    finally:
        path.write_text(right, encoding="utf-8")


def _seconds_on_right_code(tests: tuple[str, ...]) -> float:
    if tests not in _healthy:
        began = _computed()
        if noticed := _noticed(list(tests), 600.0):
            sys.exit(f"the tests fail on the code as it is: {noticed}: {(_place / 'output').read_text()[-2000:]}")
        _healthy[tests] = _computed() - began
    return _healthy[tests]


def _computed() -> float:
    """Return the processor seconds of all trials up to now."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def _noticed(tests: list[str], limit: float) -> str:
    """One file after another, because the first notices most mutants and the others take time to import."""
    return next(filter(None, (_noticed_by(test, limit) for test in tests)), "")


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


class _CheapestFirst:
    """Run tests of many examples last: most mutants are noticed before."""

    @staticmethod
    def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
        items.sort(key=lambda item: any(item.get_closest_marker(mark) for mark in ("slow", "hypothesis")))


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
    status = pytest.main([*flags, f"--basetemp={_place / 'tmp'}", test], plugins=[_CheapestFirst()])
    os._exit(status)
