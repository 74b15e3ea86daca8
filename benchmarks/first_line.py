"""How long a user waits: for the first useful line on a terminal, for the first sign of progress, for the verdict.

Each command runs in a terminal of its own, as on a desk; medians of several runs. Python's own start stands beside
them, because nothing can be faster.
"""

from __future__ import annotations

import os
import pty
import select
import statistics
import sys
import tempfile
import time
from pathlib import Path

from measure import machine
from rich.progress import track

from verify.demo import CHECKPOINT, HELD_OUT_TEXT

RUNS = 3


def watch(arguments: list[str]) -> tuple[float, float]:
    """Seconds until the first line has ended, and until the command has."""
    start = time.monotonic()
    process, terminal = pty.fork()
    if process == 0:
        os.environ |= {"COLUMNS": "120", "TERM": "xterm-256color"}
        os.execv(sys.executable, [sys.executable, *arguments])
    first: float | None = None
    while True:
        try:
            select.select([terminal], [], [])
            content = os.read(terminal, 65536)
        except OSError:  # what Linux says when the other side has closed
            break
        if not content:
            break
        if first is None and b"\n" in content:
            first = time.monotonic() - start
    os.waitpid(process, 0)
    os.close(terminal)
    whole = time.monotonic() - start
    return first or whole, whole


def main() -> None:
    with tempfile.TemporaryDirectory() as directory:
        out = Path(directory) / "model.bin"
        verify = ["-m", "verify", "verify", str(CHECKPOINT), str(out)]
        release = ["-m", "verify", "release", str(CHECKPOINT), str(out), "--format", "v2", "--overwrite"]
        commands = {
            "python -c print()": ["-c", "print()"],
            "--help": ["-m", "verify", "--help"],
            "release --depth quick": [*release, "--depth", "quick"],
            "release": release,
            "verify --depth quick": [*verify, "--depth", "quick"],
            "verify --text": [*verify, "--text", str(HELD_OUT_TEXT)],
            "inspect": ["-m", "verify", "inspect", str(out)],
            "verify of a file that is cut off": ["-m", "verify", "verify", str(CHECKPOINT), str(CHECKPOINT)],
            "demo": ["-m", "verify", "demo", "--out", f"{directory}/demo"],
        }
        found = {
            name: [watch(arguments) for _ in range(RUNS)]
            for name, arguments in track(commands.items(), description="commands")
        }
    print(f"{machine()}; medians of {RUNS} runs\n")
    print("| command | first line, s | the whole, s |\n|---|---|---|")
    for name, times in found.items():
        first, whole = (statistics.median(column) for column in zip(*times, strict=True))
        print(f"| `{name}` | {first:.2f} | {whole:.2f} |")


if __name__ == "__main__":
    main()
