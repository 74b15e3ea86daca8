"""refused.c, linked with the reader so that it can refuse what the reader asks of the system."""

from __future__ import annotations

import subprocess
from pathlib import Path

from reader_c.build import SOURCE_DIR

# of the reader that is imported, which need not be the one beside these tests
PLACE = SOURCE_DIR.parents[1]
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
    # named as setup.py names them, so that coverage of both is that of one
    sources = [path.relative_to(PLACE) for path in sorted(SOURCE_DIR.glob("*.c"))]
    wrapped = [f"-Wl,--wrap={name}" for name in WRAPPED]
    includes = f"-I{SOURCE_DIR.relative_to(PLACE)}"
    command = [compiler, *FLAGS, *flags, includes, Path(__file__).with_suffix(".c"), *sources, *wrapped]
    subprocess.run([*command, "-o", program, "-lm", "-lpthread"], check=True, cwd=PLACE)
