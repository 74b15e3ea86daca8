"""What the benchmarks measure alike. Imports nothing heavy: it runs in the processes that are measured."""

from __future__ import annotations

import os
import platform
import shutil
import time
from pathlib import Path


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
