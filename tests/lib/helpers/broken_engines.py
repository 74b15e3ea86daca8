"""C readers with a mistake in them, built beside the healthy one and used in a process of their own.

There, `import reader_c` finds the broken one, while exporter, verify and the tests are the healthy ones.
"""

from __future__ import annotations

import json
import os
import shlex
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Sequence
from pathlib import Path

from helpers.compiled import objects
from helpers.defects.engine import Patch
from helpers.defects.outcome import Outcome
from reader_c.build import SOURCES, STRICT_FLAGS, ffibuilder

ROOT = Path(__file__).parents[3]


def build(patch: Patch, directory: Path, kept: Path, *, quick: bool = True) -> Path:
    """A directory with a package reader_c whose source has the patch; raises ValueError where it does not fit. kept:
    a directory for objects of what has none. quick: to build, because most of these are built often and run little;
    slow to run."""
    package = directory / "reader_c"
    shutil.copytree(ROOT / "reader_c", package, ignore=shutil.ignore_patterns("_reader*", "__pycache__"))
    patch.apply(package / "src")
    ffibuilder.emit_c_code(str(package / "src" / "_reader.c"))
    speed = ("-O1", "-DRC_NO_CLONES") if quick else ()
    headers = sysconfig.get_paths()["include"]
    flags = (*STRICT_FLAGS, *speed, *shlex.split(patch.flags), "-w", "-fPIC")
    command = ["gcc", *flags, f"-I{headers}"]
    source_dir = Path("reader_c", "src")
    sources = [source_dir / name for name in (*SOURCES, "_reader.c")]
    made = objects(sources, source_dir, command, directory, kept)
    library = package / "_reader.abi3.so"
    subprocess.run([*command, "-shared", *made, "-o", library, "-lm", "-lpthread"], check=True)
    return directory


class Judge:
    """Judges files with broken engines: one process that has imported what is slow and healthy, and a fork of it for
    each engine. A context manager."""

    def __init__(self) -> None:
        paths = [str(ROOT), str(ROOT / "tests" / "lib")]
        self._process = subprocess.Popen(
            [sys.executable, "-m", "helpers.engine_judge"],
            env={**os.environ, "PYTHONPATH": os.pathsep.join(paths)},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def __enter__(self) -> Judge:
        return self

    def __exit__(self, *_: object) -> None:
        with self._process:
            assert self._process.stdin is not None
            self._process.stdin.close()

    def judge(self, engine: Path, jobs: Sequence[tuple[Path, Path, int]]) -> list[Outcome]:
        """Of each (source, file, length of a window). engine: a directory that build() made."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        print(json.dumps({"engine": str(engine), "jobs": jobs}, default=str), file=self._process.stdin, flush=True)
        answer = json.loads(self._process.stdout.readline())
        if "error" in answer:
            raise RuntimeError(f"judging with a broken engine: {answer['error']}")
        return [Outcome.from_dict(found) for found in answer["outcomes"]]
