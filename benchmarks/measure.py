"""What the benchmarks measure alike. Imports nothing heavy: it runs in the processes that are measured."""

from __future__ import annotations

import json
import os
import platform
import shutil
import time
from pathlib import Path

RESULTS = Path(__file__).parent / "results"


def save(name: str, result: object) -> None:
    """Keep what was measured, for plots.py and README.md."""
    (RESULTS / f"{name}.json").write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")


def machine() -> str:
    """What figures were measured on."""
    cpu = next(
        (
            line.split(":", 1)[1].strip()
            for line in Path("/proc/cpuinfo").read_text().splitlines()
            if "model name" in line
        ),
        platform.machine(),
    )
    return f"{len(os.sched_getaffinity(0))} cores of {cpu}, Python {platform.python_version()}"


def peak_memory() -> int:
    """Bytes of the largest resident set that this program has had. Not getrusage's, which also remembers what
    the process was before it became this program."""
    status = Path("/proc/self/status").read_text(encoding="utf-8")
    return int(status.split("VmHWM:")[1].split()[0]) * 1024


def copy(source: Path, out: Path, size: int) -> float:
    """Seconds to copy size bytes of source, synced as an export is."""
    start = time.monotonic()
    with source.open("rb") as read, out.open("wb") as write:
        shutil.copyfileobj(read, write, 1 << 20)
        write.truncate(size)
        write.flush()
        os.fsync(write.fileno())
    return time.monotonic() - start


def read_and_write(source: Path, out: Path, size: int) -> float:
    """Seconds to read all of source and to write size bytes, synced: what no export to so many can be faster than."""
    block = bytearray(1 << 22)
    start = time.monotonic()
    with source.open("rb", buffering=0) as read:
        while read.readinto(block):
            pass
    with out.open("wb", buffering=0) as write:
        for at in range(0, size, len(block)):
            write.write(memoryview(block)[: size - at])
        os.fsync(write.fileno())
    return time.monotonic() - start


def forget_files() -> bool:
    """Have the system drop what it keeps of files in memory, so that they come from the disk again. False where that
    is not ours to ask."""
    try:
        os.sync()
        Path("/proc/sys/vm/drop_caches").write_text("3", encoding="ascii")
    except OSError:
        return False
    return True
