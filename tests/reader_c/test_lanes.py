"""`mirror` sums in run.c's order on every instruction set of this processor, not only on its best one."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from reader_c.build import SPEED_FLAGS, STRICT_FLAGS

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("compiler", ["gcc", "clang"])
@pytest.mark.parametrize("flags", [(), ("-DRC_NO_CLONES",)], ids=["every set", "the smallest set"])
def test_each_instruction_set_has_the_bits_of_the_definition(
    tmp_path: Path, compiler: str, flags: tuple[str, ...]
) -> None:
    if not shutil.which(compiler):
        pytest.skip(f"{compiler} is not installed")
    program = tmp_path / "lanes"
    sources = ROOT / "tests" / "lib" / "helpers" / "every_lanes.c", "-I", ROOT / "reader_c" / "src"
    command = [compiler, *STRICT_FLAGS, *SPEED_FLAGS, *flags, *map(str, sources), "-o", str(program)]
    subprocess.run(command, check=True)
    ran = subprocess.run([program], capture_output=True, text=True, check=False)
    assert ran.returncode == 0
    assert int(ran.stdout) >= 1
