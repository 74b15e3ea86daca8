"""The rules between packages hold, and the wheel's contents are what the code needs."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent


def test_import_contracts_hold() -> None:
    command = [str(Path(sys.executable).with_name("lint-imports")), "--no-cache"]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stdout


def test_c_sources_hold_no_global_state_and_never_leave() -> None:
    for path in (ROOT / "reader_c" / "src").glob("*.c"):
        text = path.read_text()
        for word in ("exit(", "abort(", "printf(", "stderr", "stdout", "assert("):
            assert word not in text, f"{path.name}: {word}"
        for line in text.splitlines():
            # a file-scope object would start in the first column with a type and end in ; or = without (
            if line.startswith("static ") and "(" not in line and not line.rstrip().endswith(("{", ",")):
                raise AssertionError(f"{path.name}: {line}")


def test_compiler_flags_are_strict() -> None:
    from reader_c.build import STRICT_FLAGS

    assert "-ffp-contract=off" in STRICT_FLAGS
    assert not {"-ffast-math", "-Ofast", "-funsafe-math-optimizations"} & set(STRICT_FLAGS)
