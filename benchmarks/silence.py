"""How long progress stands still, and how honest the time left is.

Each release runs in a terminal of its own, and is watched from its first line to its last. Progress moves when a
number or a cell of the bar changes; the time left and a spinner alone do not count. The time left is compared with
the time that was left in fact, from the first tenth of the run until two seconds before its end.
"""

from __future__ import annotations

import argparse
import json
import os
import pty
import re
import select
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from measure import RESULTS, machine, save

from verify.demo import CHECKPOINT

_CONTROLS = re.compile(r"\x1b\[[0-9;?]*[a-zA-Z]")
_LEFT = re.compile(r"\s+((?:[0-9]+ (?:s|min|h) ?)+) left\s*$")
_UNITS = {"s": 1, "min": 60, "h": 3600}
_BAR = re.compile(r"^\S+ [0-9]+ %(?: |$)")
# A frame of the recording for every so many seconds.
_EVERY = 5.0


@dataclass
class Frame:
    """What one line showed, so many seconds after the start. left: seconds, None where it did not say."""

    at: float
    text: str
    left: float | None


def run(arguments: list[str], columns: int) -> tuple[list[Frame], float]:
    """Return every frame of the bar, and the other lines, and the seconds of the whole."""
    start = time.monotonic()
    process, terminal = pty.fork()
    if process == 0:
        os.environ |= {"COLUMNS": str(columns), "TERM": "xterm-256color", "NO_COLOR": "1"}
        os.execv(sys.executable, [sys.executable, *arguments])
    frames: list[Frame] = []
    rest = ""
    while True:
        try:
            select.select([terminal], [], [])
            content = os.read(terminal, 65536).decode(errors="replace")
        except OSError:  # what Linux says when the other side has closed
            break
        if not content:
            break
        now = time.monotonic() - start
        *lines, rest = re.split(r"[\r\n]+", _CONTROLS.sub("", rest + content))
        frames += [frame(now, line) for line in (*lines, rest) if line.strip()]
    os.waitpid(process, 0)
    os.close(terminal)
    # until the last line: the interpreter's end is not awaited
    return frames, frames[-1].at


def frame(at: float, line: str) -> Frame:
    found = _LEFT.search(line)
    if not found or not _BAR.match(line):
        return Frame(at, line.rstrip(), None)
    numbers = found[1].split()
    left = sum(int(count) * _UNITS[unit] for count, unit in zip(numbers[::2], numbers[1::2], strict=True))
    return Frame(at, line[: found.start()].rstrip(), left)


def silence(frames: list[Frame], whole: float) -> tuple[float, float, str]:
    """Return the longest time between two movements, when it began, and what stood there."""
    # from the first line on, for which bench-wait waits
    moves: list[tuple[float, str]] = [(frames[0].at, "")]
    for shown in frames:
        if shown.text != moves[-1][1]:
            moves.append((shown.at, shown.text))
    ends = [at for at, _ in moves[1:]] + [whole]
    return max((end - at, at, " ".join(text.split()[:3])) for (at, text), end in zip(moves, ends, strict=True))


def honesty(frames: list[Frame], whole: float) -> dict[str, float]:
    """Return the range of shown over actual time left after the first tenth, and the share within a factor of two."""
    ratios = [
        shown.left / (whole - shown.at)
        for shown in frames
        if shown.left is not None and whole / 10 < shown.at < whole - 2
    ]
    if not ratios:
        return {}
    return {
        "least": min(ratios),
        "most": max(ratios),
        "within": sum(0.5 <= ratio <= 2 for ratio in ratios) / len(ratios),
    }


def recording(frames: list[Frame]) -> str:
    """Return the lines as they were printed, and the bar whenever its stage changes and every few seconds."""
    lines, stage, last = [], "", -_EVERY
    for shown in frames:
        if not _BAR.match(shown.text):
            lines.append(f"{shown.at:6.1f} s  {shown.text}")
            continue
        now = shown.text.split()[0]
        if now != stage or shown.at - last >= _EVERY:
            left = "" if shown.left is None else f"  {shown.left:.0f} s left"
            lines.append(f"{shown.at:6.1f} s  {shown.text}{left}")
            stage, last = now, shown.at
    return "\n".join(dict.fromkeys(lines)) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("smollm2", type=Path, nargs="?", help="SmolLM2-135M as a Hugging Face directory")
    parser.add_argument("--record", type=Path, help="write recordings of the terminal into this directory")
    parser.add_argument("--threads", default="2")
    parser.add_argument("--only", default="", help="releases whose name contains this; others keep their last result")
    given = parser.parse_args()
    last = RESULTS / "silence.json"
    found = json.loads(last.read_text(encoding="utf-8"))["releases"] if given.only and last.exists() else {}
    with tempfile.TemporaryDirectory() as room:
        releases = {
            "bundled, v2": (CHECKPOINT, ["--format", "v2"], 80),
            "bundled, v3": (CHECKPOINT, ["--format", "v3"], 120),
        }
        if given.smollm2:
            quick = ["--depth", "quick", "--threads", given.threads]
            releases |= {
                "SmolLM2-135M, v3 float32": (given.smollm2, ["--format", "v3", "--storage", "fp32", *quick], 80),
                "SmolLM2-135M, v3 Q8_0": (given.smollm2, ["--format", "v3", "--storage", "q8_0", *quick], 120),
            }
        for name, (source, options, columns) in releases.items():
            if given.only not in name:
                continue
            command = ["-m", "verify", "release", str(source), f"{room}/model.bin", "--overwrite", *options]
            frames, whole = run(command, columns)
            longest, at, text = silence(frames, whole)
            found[name] = {"seconds": whole, "silence": longest, "at": at, "shown": text, **honesty(frames, whole)}
            print(name, found[name], f"load {os.getloadavg()[0]:.1f}", flush=True)
            if given.record:
                file = given.record / f"{name.replace(', ', '-').replace(' ', '-')}-{columns}.txt"
                file.write_text(recording(frames), encoding="utf-8")
        if given.record:
            command = [sys.executable, "-m", "verify", "release", str(CHECKPOINT), f"{room}/m.bin", "--format", "v2"]
            piped = subprocess.run(command, capture_output=True, text=True, check=True).stderr
            (given.record / "bundled-v2-piped.txt").write_text(piped, encoding="utf-8")
    save("silence", {"machine": machine(), "releases": found})


if __name__ == "__main__":
    main()
