"""A terminal, and somebody at it who waits for what is written and types."""

from __future__ import annotations

import contextlib
import os
import select
import subprocess
import sys
from collections.abc import Sequence

# Seconds without a byte after which a program hangs.
_PATIENCE = 120
# What a terminal turns into SIGINT and into the end of the input.
CTRL_C, CTRL_D = "\x03", "\x04"
# Standard input becomes the terminal that controls the process: only then Ctrl-C interrupts it.
_PROGRAM = "import fcntl, termios; fcntl.ioctl(0, termios.TIOCSCTTY, 0); from verify.cli import main; main()"


def converse(arguments: Sequence[object], typed: Sequence[tuple[str, str]]) -> tuple[str, int]:
    """Run the command line on a terminal. typed: (what to wait for, what to type then), one after the other.

    Returns everything that the terminal shows, typed text included, and the exit status.
    """
    ours, theirs = os.openpty()
    process = subprocess.Popen(
        [sys.executable, "-c", _PROGRAM, *map(str, arguments)],
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        env={**os.environ, "TERM": "xterm-256color", "COLUMNS": "120"},
        start_new_session=True,
    )
    os.close(theirs)
    shown, read, left = b"", 0, list(typed)
    # the system says that the other side has closed by an error
    with contextlib.suppress(OSError):
        while select.select([ours], [], [], _PATIENCE)[0] and (piece := os.read(ours, 65536)):
            shown += piece
            if left and left[0][0].encode() in shown[read:]:
                read = len(shown)
                os.write(ours, left.pop(0)[1].encode())
    os.close(ours)
    process.wait(timeout=_PATIENCE)
    assert not left, f"never shown: {left[0][0]!r}; shown: {shown!r}"
    return shown.decode(), process.returncode
