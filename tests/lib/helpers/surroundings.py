"""One export in many surroundings: what a process inherits, how a directory is listed; none of it may matter."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

_EXPORT = "import os, sys; os.umask(int(sys.argv.pop(1), 8)); from verify.cli import main; main()"


@dataclass(frozen=True)
class Surroundings:
    """processors: that the process may use; order: in which the source's files are put into their directory."""

    variables: dict[str, str] = field(default_factory=dict)
    processors: int = 2
    umask: int = 0o022
    order: int = 0

    def __str__(self) -> str:
        told = [f"{key}={value}" for key, value in self.variables.items()]
        return " ".join((*told, f"processors={self.processors}", f"umask={self.umask:03o}", f"order={self.order}"))


def twenty() -> list[Surroundings]:
    """The first ones differ most."""
    locales, zones = (
        ("C", "C.UTF-8", "de_DE.UTF-8", "tr_TR.UTF-8", "POSIX"),
        ("UTC", "Asia/Kathmandu", "America/St_Johns"),
    )
    found = [
        Surroundings({"PYTHONHASHSEED": "0"}),
        Surroundings(
            {"PYTHONHASHSEED": "1", "LC_ALL": "tr_TR.UTF-8", "TZ": "Asia/Kathmandu", "OMP_NUM_THREADS": "8"},
            processors=1,
            umask=0o077,
            order=1,
        ),
        Surroundings({"PYTHONHASHSEED": "4294967295", "PYTHONOPTIMIZE": "2", "LC_ALL": "C"}, umask=0, order=2),
    ]
    for number in range(len(found), 20):
        variables = {
            "PYTHONHASHSEED": str(number * 7919),
            "LC_ALL": locales[number % len(locales)],
            "TZ": zones[number % len(zones)],
            "OMP_NUM_THREADS": str((1, 2, 3, 8)[number % 4]),
            "PYTHONUTF8": str(number % 2),
        }
        found.append(Surroundings(variables, 1 + number % 2, (0o022, 0o077, 0, 0o027)[number % 4], number))
    return found


def laid_out(source: Path, place: Path, order: int) -> Path:
    """A copy of source whose files came into their directory in another order, and at another time."""
    if source.is_file():
        place.mkdir()
        return shutil.copy2(source, place / source.name)
    place.mkdir()
    files = sorted(path for path in source.iterdir() if path.is_file())
    turned = files[order % len(files) :] + files[: order % len(files)]
    for path in turned if order % 2 else reversed(turned):
        shutil.copyfile(path, place / path.name)
        os.utime(place / path.name, (order * 1e6, order * 1e6))
    return place


def digest(path: Path) -> str:
    """SHA-256 of a file, or of a directory's names and files."""
    files = [path] if path.is_file() else sorted(path.iterdir())
    told = "".join(
        f"{file.name if path.is_dir() else ''} {hashlib.sha256(file.read_bytes()).hexdigest()}" for file in files
    )
    return hashlib.sha256(told.encode()).hexdigest()


def digests(source: Path, room: Path, many: list[Surroundings], *options: str) -> Iterator[tuple[Surroundings, str]]:
    """Export source with the options in each of the surroundings, in a process of its own. The source keeps one path
    and the target another, since files may say what they were made of."""
    for surroundings in many:
        for old in room.iterdir():
            shutil.rmtree(old) if old.is_dir() else old.unlink()
        laid_out(source, room / "source", surroundings.order)
        path = room / "source" / (source.name if source.is_file() else "")
        command = [sys.executable, "-c", _EXPORT, f"{surroundings.umask:o}", "export", path, room / "out", *options]
        processors = set(sorted(os.sched_getaffinity(0))[: surroundings.processors])
        subprocess.run(
            command,
            check=True,
            capture_output=True,
            env={**os.environ, **surroundings.variables},
            preexec_fn=lambda own=processors: os.sched_setaffinity(0, own),
        )
        yield surroundings, digest(room / "out")
