"""The rules between packages hold, rooms and functions stay small, and the C code keeps to its own rules."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import rooms

ROOT = Path(__file__).parent.parent
PLANS = {plan.name: plan for plan in rooms.plans(ROOT)}

# Files that are one table of data or that a program generates, which a split would only make harder to read.
DATA_TABLES = frozenset({"reader_c/src/unicode_tables.h"})

# names of contracts in pyproject.toml
EXPORTER = "exporter stands alone"
READER = "reader_c stands alone, without PyTorch"
ALLOW_LIST = "what judges a file takes nothing from what wrote it"
LAYERS = "the rooms of verify"
CIRCLES = "no circles"


def lint_imports(directory: Path) -> subprocess.CompletedProcess[str]:
    command = [str(Path(sys.executable).with_name("lint-imports")), "--no-cache"]
    # the current directory comes first on the command's path, before an installed copy
    return subprocess.run(command, cwd=directory, capture_output=True, text=True, check=False)


def test_import_contracts_hold() -> None:
    result = lint_imports(ROOT)
    assert result.returncode == 0, result.stdout


@pytest.mark.parametrize(
    ("contract", "module", "text"),
    [
        (EXPORTER, "exporter/bad.py", "import reader_c"),
        (EXPORTER, "exporter/formats/bad.py", "def later():\n    import verify.errors"),
        (READER, "reader_c/bad.py", "import verify.errors"),
        (READER, "reader_c/bad.py", "import torch"),
        (ALLOW_LIST, "verify/checks/bad.py", "from exporter.config import ModelConfig"),
        (ALLOW_LIST, "verify/judge_report.py", "import exporter"),
        (LAYERS, "verify/system/bad.py", "import verify.checks.policy"),
        (LAYERS, "verify/engine/bad.py", "import verify.attribution.logit_error"),
        (LAYERS, "verify/bad.py", ""),
        (CIRCLES, "verify/checks/bad.py", "import verify.checks.worse"),
    ],
)
def test_each_import_contract_refuses_a_module_that_breaks_it(
    contract: str, module: str, text: str, tmp_path: Path
) -> None:
    """No other contract refuses it. All other modules are empty here: the test above is about what they import."""
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    for path in (path for package in rooms.PACKAGES for path in (ROOT / package).rglob("*.py")):
        copy = tmp_path / path.relative_to(ROOT)
        copy.parent.mkdir(parents=True, exist_ok=True)
        copy.touch()
    assert lint_imports(tmp_path).returncode == 0
    (tmp_path / "verify/checks/worse.py").write_text("import verify.checks.bad\n" if contract == CIRCLES else "")
    (tmp_path / module).write_text(f"{text}\n")
    result = lint_imports(tmp_path)
    assert result.returncode == 1
    assert re.findall(r"^(.+) BROKEN", result.stdout, re.MULTILINE) == [contract]


def test_few_modules_of_verify_lie_outside_its_rooms() -> None:
    assert len(PLANS["verify"].loose) <= 10, PLANS["verify"].loose


@pytest.mark.parametrize("name", PLANS)
def test_no_imports_go_in_a_circle(name: str) -> None:
    plan = PLANS[name]
    assert rooms.circles(plan.imports) == []
    assert rooms.circles(plan.arrows) == []


@pytest.mark.parametrize("name", PLANS)
def test_no_module_has_more_than_300_lines(name: str) -> None:
    assert {file: lines for file, lines in PLANS[name].lines.items() if lines > 300 and file not in DATA_TABLES} == {}


@pytest.mark.parametrize("name", PLANS)
def test_no_function_has_more_than_60_lines(name: str) -> None:
    assert {function: lines for function, lines in PLANS[name].functions.items() if lines > 60} == {}


def test_c_sources_hold_no_global_state_and_never_leave() -> None:
    for path in (ROOT / "reader_c" / "src").glob("*.c"):
        text = path.read_text()
        for word in ("exit(", "abort(", "printf(", "stderr", "stdout", "assert("):
            assert word not in text, f"{path.name}: {word}"
        for line in text.splitlines():
            # a file-scope object would start in the first column with a type and end in ; or = without (
            constant = line.startswith("static const ")
            if (
                line.startswith("static ")
                and not constant
                and "(" not in line
                and not line.rstrip().endswith(("{", ","))
            ):
                raise AssertionError(f"{path.name}: {line}")


def test_compiler_flags_are_strict() -> None:
    from reader_c.build import STRICT_FLAGS

    assert "-ffp-contract=off" in STRICT_FLAGS
    assert not {"-ffast-math", "-Ofast", "-funsafe-math-optimizations"} & set(STRICT_FLAGS)
