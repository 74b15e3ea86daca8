"""The confined program keeps its limits, and says apart what cannot be started."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

from verify.engine import confine


def confined(*arguments: object) -> subprocess.CompletedProcess[bytes]:
    path = Path(confine.__file__)
    command = [sys.executable, "-I", str(path), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, timeout=60, check=False)


def test_it_imports_nothing_but_the_standard_library() -> None:
    tree = ast.parse(Path(confine.__file__).read_text())
    names = {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
    names |= {node.module or "" for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    assert {name.partition(".")[0] for name in names} <= sys.stdlib_module_names


def test_a_command_s_status_is_its_own() -> None:
    found = confined(0, 0, "command", sys.executable, "-S", "-c", "print('here'); raise SystemExit(5)")
    assert (found.returncode, found.stdout) == (5, b"here\n")


@pytest.mark.parametrize(
    "what", [("command", "/nonexistent/engine"), ("library", "/nonexistent.so", "x", "y", "z", "lengths", "8")]
)
def test_what_cannot_be_started_has_its_own_status(what: tuple[str, ...]) -> None:
    found = confined(0, 0, *what)
    assert found.returncode == confine.NOT_STARTED
    assert b"No such file or directory" in found.stderr


def test_memory_and_the_size_of_files_are_limited(tmp_path: Path) -> None:
    text = "import sys\ntry: bytearray(1 << 30)\nexcept MemoryError: sys.exit(9)"
    assert confined(1 << 29, 0, "command", sys.executable, "-S", "-c", text).returncode == 9
    text = f"open({str(tmp_path / 'x')!r}, 'wb', 0).write(bytes(1 << 20))"
    confined(0, 1 << 12, "command", sys.executable, "-S", "-c", text)
    assert (tmp_path / "x").stat().st_size == 1 << 12
