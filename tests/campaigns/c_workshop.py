"""A copy of the reader in which a mutant of its C code is built, and tried by forks of a process that has imported
what takes long."""

from __future__ import annotations

import gc
import importlib
import math
import multiprocessing
import os
import re
import resource
import shutil
import signal
import subprocess
import sys
import sysconfig
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest
from c_mutations import Mutant
from helpers import trained_blocks
from helpers.compiled import objects
from helpers.refused import KEPT
from hypothesis import Phase, settings

from reader_c.build import SOURCE_DIR, SOURCES, STRICT_FLAGS, ffibuilder

ROOT = Path(__file__).parents[2]
_FLAGS = (*(flag for flag in STRICT_FLAGS if flag != "-O3"), "-O2", "-fPIC", "-w")
# Long imports of what the tests use, but for the reader, which must come from the copy.
_WARM = ("numpy", "hypothesis.extra.numpy", "sentencepiece", "tokenizers", "regex", "ml_dtypes", "exporter")
_OF_THE_READER = re.compile(r"reader_c(\..*)?|helpers\.refused")
# How many times as long as on the right code the tests may compute; a mutant may compute for ever. The clock on the
# wall has more patience, because other programs may need the processor: it ends those that only wait.
_PATIENCE, _LEAST_SECONDS, _WAITS = 5.0, 10.0, 10.0
# fates that no test gives
SAME_CODE = "the same code"
REFUSED = "the compiler"


@dataclass(frozen=True)
class Tests:
    """One file of tests/reader_c; expression: only those of its tests, as pytest's -k."""

    name: str
    expression: str = ""

    @property
    def flags(self) -> list[str]:
        return [f"tests/reader_c/test_{self.name}.py", *(["-k", self.expression] if self.expression else [])]


_place = Path()
_objects: dict[str, Path] = {}
_healthy: dict[Tests, float] = {}


def compile_objects(kept: Path) -> dict[str, Path]:
    """Compile the whole reader, cffi's glue included, unless kept has it. Return the object files by source."""
    kept.mkdir(parents=True, exist_ok=True)
    glue = kept / "_reader.c"
    # paths in it are relative to the working directory
    ffibuilder.emit_c_code(str(glue))
    sources = [glue, *(SOURCE_DIR / name for name in SOURCES)]
    command = ["gcc", *_FLAGS, f"-I{sysconfig.get_paths()['include']}"]
    made = objects([path.relative_to(ROOT) for path in sources], SOURCE_DIR.relative_to(ROOT), command, ROOT, kept)
    return dict(zip((path.name for path in sources), made, strict=True))


def open_workshop(room: Path, made: dict[str, Path]) -> None:
    """Copy the reader, and import what all trials use."""
    global _place, _objects  # one workshop a process
    _place, _objects = room / f"workshop{os.getpid()}", made
    shutil.copytree(ROOT / "reader_c", _place / "reader_c", ignore=shutil.ignore_patterns("_reader*", "__pycache__"))
    os.environ |= {"OMP_NUM_THREADS": "1", "HYPOTHESIS_PROFILE": "ci", "TOKENIZERS_PARALLELISM": "false"}
    os.environ |= {"PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1", KEPT: str(next(iter(made.values())).parent)}
    for name in _WARM:
        importlib.import_module(name)
    trained_blocks.families()
    # with the very keywords of the tests, by which what was trained is kept
    for spaces in ({}, {"prefix": False}, {"single_spaces": True}, {"single_spaces": True, "prefix": False}):
        trained_blocks.sentencepiece_model(**spaces)
    nothing = room / f"{os.getpid()}_nothing.py"
    nothing.write_text("", encoding="utf-8")
    # loads pytest's plugins
    pytest.main(["-qq", "--co", "-p", "_hypothesis_pytestplugin", "-c", "/dev/null", str(nothing)])
    gc.freeze()  # what is imported here stays: no trial has to search it for garbage


def tried(mutant: Mutant, text: str, tests: Sequence[Tests]) -> str:
    """Return what noticed: a test's name, "a crash", "a hang", SAME_CODE or REFUSED; "" if nothing did."""
    source = _place / "reader_c" / "src" / mutant.file
    made, right = _place / "mutant.o", _objects[source.name]
    others = [path for path in _objects.values() if path != right]
    try:
        for one in tests:
            limit = max(_LEAST_SECONDS, _PATIENCE * _seconds_on_right_code(one))
            source.write_text(mutant.apply(text), encoding="utf-8")
            if not _compile(source, made, "-O0"):
                return REFUSED
            _link(made, *others)
            if noticed := _noticed_by(one, limit):
                return noticed
            source.write_text(text, encoding="utf-8")
        # the compiler proves some mutants to be the same program
        source.write_text(mutant.apply(text), encoding="utf-8")
        return SAME_CODE if _compile(source, made) and made.read_bytes() == right.read_bytes() else ""
    finally:
        source.write_text(text, encoding="utf-8")


def _compile(source: Path, made: Path, *flags: str) -> bool:
    """Compile with warnings off; return whether it is C at all."""
    command = ["gcc", *_FLAGS, *flags, f"-I{SOURCE_DIR}", "-c", source, "-o", made]
    return not subprocess.run(command, stderr=subprocess.DEVNULL, check=False).returncode


def _link(*objects: Path) -> None:
    # a new file, because a process may have mapped the last one
    library = _place / "reader_c" / "_reader.abi3.so"
    library.unlink(missing_ok=True)
    subprocess.run(["gcc", "-shared", *objects, "-o", library, "-lm", "-lpthread"], check=True)


def _seconds_on_right_code(tests: Tests) -> float:
    if tests not in _healthy:
        _link(*_objects.values())
        began = _computed()
        if noticed := _noticed_by(tests, 600.0):
            sys.exit(f"the tests fail on the reader as it is: {noticed}: {_output()[-2000:]}")
        _healthy[tests] = _computed() - began
    return _healthy[tests]


def _computed() -> float:
    """Return the processor seconds of all trials up to now."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def _output() -> str:
    return (_place / "output").read_text(encoding="utf-8", errors="replace")


def _noticed_by(tests: Tests, limit: float) -> str:
    process = multiprocessing.get_context("fork").Process(target=_run, args=(tests, limit))
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
    found = re.search(r"^(?:FAILED|ERROR) (.+?)(?: - .*)?$", _output(), flags=re.MULTILINE)
    return found[1] if found else "a crash"


class _Quick:
    """Run tests of many examples last, because most mutants are noticed before; stop at the first example that fails,
    and remember none."""

    @staticmethod
    def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
        items.sort(key=lambda item: item.get_closest_marker("hypothesis") is not None)

    @staticmethod
    def pytest_collection() -> None:
        phases = (Phase.explicit, Phase.generate)
        settings.register_profile("mutants", settings.get_profile("ci"), phases=phases, database=None)
        settings.load_profile("mutants")


def _run(tests: Tests, limit: float) -> None:
    """Run tests in this process, which ends with their status, or when it has computed for so many seconds."""
    resource.setrlimit(resource.RLIMIT_CPU, (math.ceil(limit), resource.RLIM_INFINITY))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    output = os.open(_place / "output", os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(output, 1)
    os.dup2(output, 2)
    os.chdir(ROOT)
    sys.path.insert(0, str(_place))
    for name in [name for name in sys.modules if _OF_THE_READER.fullmatch(name)]:
        del sys.modules[name]
    # what is imported already cannot be rewritten, and pytest warns of it
    flags = ["-q", "-x", "--no-header", "-p", "no:cacheprovider", "-W", "ignore::pytest.PytestAssertRewriteWarning"]
    flags += ["-p", "_hypothesis_pytestplugin", f"--basetemp={_place / 'tmp'}"]
    status = pytest.main([*flags, *tests.flags], plugins=[_Quick()])
    if not sys.modules["reader_c"].__file__.startswith(str(_place)):  # type: ignore[union-attr]
        os._exit(70)
    os._exit(status)
