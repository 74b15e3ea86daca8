"""Builds refused.c or refused_words.c: the reader, whose calls of the system they can refuse."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

from helpers.compiled import objects
from reader_c.build import SOURCE_DIR

# of the reader that is imported, which need not be the one beside these tests
PLACE = SOURCE_DIR.parents[1]
WRAPPED = (
    "malloc",
    "calloc",
    "realloc",
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
# a directory for objects, where who builds it again and again wants them kept
KEPT = "REFUSED_OBJECTS"


def build(program: Path, compiler: str, *flags: str, driver: str = "refused.c") -> None:
    # named as setup.py names them, so that coverage of both is that of one
    sources = [path.relative_to(PLACE) for path in sorted(SOURCE_DIR.glob("*.c"))]
    command = [compiler, *FLAGS, *flags]
    kept = Path(os.environ.get(KEPT, program.parent))
    sources += [Path(__file__).with_name(name) for name in (driver, "refused_calls.c")]
    made = objects(sources, SOURCE_DIR.relative_to(PLACE), command, PLACE, kept)
    wrapped = [f"-Wl,--wrap={name}" for name in WRAPPED]
    subprocess.run([*command, *made, *wrapped, "-o", program, "-lm", "-lpthread"], check=True, cwd=PLACE)
