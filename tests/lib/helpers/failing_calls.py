"""System calls that fail as they are told to, on files in one directory: failing_calls.c, told what to do.

It must be preloaded: a script that wants it starts itself again, by preload().
"""

from __future__ import annotations

import ctypes
import mmap
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path

CALLS = (
    "open",
    "close",
    "read",
    "write",
    "seek",
    "fsync",
    "truncate",
    "stat",
    "list",
    "access",
    "flock",
    "mkdir",
    "rename",
    "link",
    "unlink",
    "rmdir",
)
ONCE, FROM_THEN_ON, HALF = range(3)

_SOURCE = Path(__file__).with_name("failing_calls.c")
_LIBRARY = "FAILING_CALLS"


class _Order(ctypes.Structure):
    _fields_ = (
        ("call", ctypes.c_int32),
        ("nth", ctypes.c_int32),
        ("how", ctypes.c_int32),
        ("error", ctypes.c_int32),
        ("seen", ctypes.c_int32 * len(CALLS)),
        ("failed", ctypes.c_int32),
        ("under", ctypes.c_char * 4096),
    )


def preload() -> None:
    """Returns in a process that has the library; starts this one again until it has."""
    if _LIBRARY in os.environ:
        return
    with tempfile.TemporaryDirectory() as directory:
        library = Path(directory) / "failing_calls.so"
        flags = ("-std=gnu11", "-O1", "-Wall", "-Wextra", "-Werror", "-shared", "-fPIC")
        subprocess.run(["gcc", *flags, _SOURCE, "-o", library, "-ldl"], check=True)
        environment = {**os.environ, "LD_PRELOAD": str(library), _LIBRARY: str(library)}
        sys.exit(subprocess.run([sys.executable, *sys.argv], env=environment, check=False).returncode)


class Order:
    """One failure to come, in memory that forked processes share; begin() is called in the one that is to have it.
    Counts the calls that it has seen."""

    def __init__(self, under: Path, call: str = "open", nth: int = 0, how: int = ONCE, error: int = 0) -> None:
        self._memory = mmap.mmap(-1, ctypes.sizeof(_Order))
        self._order = _Order.from_buffer(self._memory)
        self._order.call, self._order.nth, self._order.how, self._order.error = CALLS.index(call), nth, how, error
        self._order.under = os.fsencode(under)

    def begin(self) -> None:
        library = ctypes.CDLL(os.environ[_LIBRARY])
        library.failing_calls_begin.argtypes = (ctypes.c_void_p,)
        library.failing_calls_begin(ctypes.addressof(self._order))

    @property
    def seen(self) -> Mapping[str, int]:
        return dict(zip(CALLS, self._order.seen, strict=True))

    @property
    def failed(self) -> int:
        return int(self._order.failed)
