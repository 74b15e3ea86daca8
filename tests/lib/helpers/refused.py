"""refused.c, linked with the reader so that it can refuse what the reader asks of the system."""

from __future__ import annotations

import subprocess
from pathlib import Path

from reader_c.build import SOURCE_DIR

ROOT = Path(__file__).parents[3]
WRAPPED = (
    "malloc",
    "calloc",
    "aligned_alloc",
    "posix_memalign",
    "pthread_create",
    "open",
    "fstat",
    "pread",
    "mmap",
    "madvise",
)
FLAGS = ("-std=c11", "-g", "-O1", "-ffp-contract=off", "-Wall", "-Wextra", "-DRC_NO_CLONES")


def build(program: Path, compiler: str, *flags: str) -> None:
    paths = (Path(__file__).with_suffix(".c"), *sorted(SOURCE_DIR.glob("*.c")))
    # named as setup.py names them, so that coverage of both is that of one
    sources = [path.relative_to(ROOT) for path in paths]
    wrapped = [f"-Wl,--wrap={name}" for name in WRAPPED]
    includes = f"-I{SOURCE_DIR.relative_to(ROOT)}"
    command = [compiler, *FLAGS, *flags, includes, *sources, *wrapped, "-o", program, "-lm", "-lpthread"]
    subprocess.run(command, check=True, cwd=ROOT)
