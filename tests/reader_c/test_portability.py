"""The same bits from gcc and clang, from -O0 to -O3, and from aarch64's NEON, which an emulator runs here."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
from helpers.arch_draws import TOGETHER
from helpers.arch_files import random_weights, write
from helpers.models import same_bits, toy_file

import reader_c
from reader_c.build import SOURCE_DIR, STRICT_FLAGS

pytestmark = pytest.mark.slow

MAIN = Path(__file__).parent.parent / "lib" / "helpers" / "logits.c"
TOKENS = 29
PATHS = {"best": 0, "scalar": 1, "avx2": 2, "avx512": 3, "neon": 4}
BUILDS = {
    **{f"gcc -O{level}": (["gcc", f"-O{level}"], []) for level in (0, 1, 2)},
    **{f"clang -O{level}": (["clang", f"-O{level}"], []) for level in (0, 3)},
    "aarch64 gcc -O3": (["aarch64-linux-gnu-gcc", "-O3", "-static"], ["qemu-aarch64"]),
    "aarch64 gcc -O0": (["aarch64-linux-gnu-gcc", "-O0", "-static"], ["qemu-aarch64"]),
}


@pytest.mark.parametrize("build", BUILDS)
def test_every_build_has_the_same_bits_on_every_path_of_its_machine(tmp_path: Path, build: str) -> None:
    compile_with, run_by = BUILDS[build]
    for program in (compile_with[0], *run_by):
        if shutil.which(program) is None:
            pytest.skip(f"{program} is not here")
    program = tmp_path / "logits"
    strict = [flag for flag in STRICT_FLAGS if not flag.startswith("-O")]
    sources = sorted(SOURCE_DIR.glob("*.c"))
    command = [*compile_with, *strict, f"-I{SOURCE_DIR}", MAIN, *sources, "-o", program, "-lm", "-lpthread"]
    subprocess.run(command, check=True, capture_output=True)
    paths = ("best", "scalar", "neon") if run_by else ("best", *reader_c.paths())
    switched = tmp_path / "switched.bin"
    write(switched, TOGETHER, random_weights(TOGETHER))
    files = [(toy_file(tmp_path, name), how) for name, how in (("v0", "fp32"), ("v2", "q8"), ("v3", "fp32"))]
    for file, activations in [*files, (switched, "fp32")]:
        with reader_c.open(file) as model:
            expected = model.forward(np.arange(TOKENS), activations=activations)
        for path in paths:
            for threads in (1, 3):
                arguments = [file, str(PATHS[path]), str(threads), str(int(activations == "q8")), str(TOKENS)]
                out = subprocess.run([*run_by, program, *arguments], check=True, capture_output=True).stdout
                assert same_bits(np.frombuffer(out, np.float32).reshape(expected.shape), expected), (path, threads)
