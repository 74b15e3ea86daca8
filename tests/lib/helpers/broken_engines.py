"""C readers with a mistake in them, built beside the healthy one and used in a process of their own.

There, `import reader_c` finds the broken one, while exporter, verify and the tests are the healthy ones.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from helpers.defects.engine import Patch
from helpers.defects.outcome import Outcome

ROOT = Path(__file__).parents[3]


def build(patch: Patch, directory: Path, *, quick: bool = True) -> Path:
    """A directory with a package reader_c whose source has the patch; raises ValueError where it does not fit. quick:
    to build, because most of these are built often and run little; slow to run."""
    shutil.copytree(
        ROOT / "reader_c", directory / "reader_c", ignore=shutil.ignore_patterns("_reader*", "__pycache__")
    )
    for name in ("setup.py", "pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, directory)
    for old, new in patch.pieces:
        _replace(directory / "reader_c" / "src", old, new)
    speed = "-O1 -DRC_NO_CLONES" if quick else ""
    flags = {"RC_EXTRA_CFLAGS": f"{speed} {patch.flags}", "RC_EXTRA_LDFLAGS": patch.flags}
    command = [sys.executable, "setup.py", "-q", "build_ext", "--inplace"]
    compiled = subprocess.run(
        command, cwd=directory, env={**os.environ, **flags}, capture_output=True, text=True, check=False
    )
    if compiled.returncode:
        raise RuntimeError(f"the broken engine does not compile:\n{compiled.stderr}")
    return directory


def _replace(sources: Path, old: str, new: str) -> None:
    texts = {path: path.read_text(encoding="utf-8") for path in sorted(sources.glob("*.c"))}
    found = [path for path, text in texts.items() for _ in range(text.count(old))]
    if len(found) != 1:
        raise ValueError(f"engine patch: expected {old!r} once, found {len(found)} times")
    found[0].write_text(texts[found[0]].replace(old, new), encoding="utf-8")


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
