"""Does a release leave anything half, or anything stray? Killed, interrupted, and on disks that are too small.

    make faults                     some four minutes, as root: the disks are mounted

Each trial is a whole command line over an earlier file, in a process of its own, forked from one that has imported
everything. Afterwards the earlier file or the new one stands there, by its digest; and nothing else but its whole
report, once another release was let through, or at once where the process was not killed.
"""

from __future__ import annotations

import argparse
import hashlib
import importlib
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

# before numpy is imported: a fork takes none of its threads along
os.environ["OMP_NUM_THREADS"] = os.environ["OPENBLAS_NUM_THREADS"] = "1"

import torch
from rich.progress import Progress

from verify.cli import main as command_line
from verify.demo import CHECKPOINT
from verify.report.console import plain_table, stdout_console
from verify.report.files import NAMES as REPORTS

NAME = "model.bin"
OPTIONS = ("--format", "v2", "--group-size", "32")
RELEASE = (*OPTIONS, "--depth", "quick", "--windows", "1", "--length", "32", "--overwrite", "--quiet")
PAGE = os.sysconf("SC_PAGESIZE")


def start(log: Path, *arguments: object, modules: Path | None = None) -> int:
    """The id of a process that runs the command line. log: what it says; modules: where to list what it imported."""
    sys.stdout.flush()
    sys.stderr.flush()
    if pid := os.fork():
        return pid
    status = 70
    # a benchmark in the background ignores it, and so would what it forks
    signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with log.open("wb") as said:
            os.dup2(said.fileno(), 1)
            os.dup2(said.fileno(), 2)
        torch.set_num_threads(1)
        sys.argv = ["export-and-verify", *map(str, arguments)]
        command_line()
    except SystemExit as stop:
        status = int(stop.code or 0)
        if modules:
            modules.write_text("\n".join(sys.modules), encoding="utf-8")
    except KeyboardInterrupt:
        # before or after main(): the interpreter's own status
        status = 128 + signal.SIGINT
    finally:
        os._exit(status)


def end(pid: int) -> int:
    """The status that a shell would see."""
    code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    return 128 - code if code < 0 else code


@dataclass
class Bench:
    """The two files that may stand there, a directory for others, and how long a release takes."""

    room: Path
    old: bytes = b""
    new: bytes = b""
    seconds: list[float] = field(default_factory=list)

    def __post_init__(self) -> None:
        """Makes both files, and imports all that takes."""
        modules = self.room / "modules"
        for out, command in (("old", ("export", *OPTIONS, "--max-seq-len", "64")), ("new", ("release", *RELEASE))):
            pid = start(self.log, command[0], CHECKPOINT, self.room / out, *command[1:], modules=modules)
            if status := end(pid):
                raise SystemExit(f"{command[0]}: expected status 0, found {status}: {self.log.read_text()}")
            for name in modules.read_text(encoding="utf-8").splitlines():
                with suppress(ImportError):
                    importlib.import_module(name)
        self.old, self.new = ((self.room / out).read_bytes() for out in ("old", "new"))
        for _ in range(3):
            self.let_through(self.room / "new")

    @property
    def log(self) -> Path:
        return self.room / "log"

    def let_through(self, out: Path) -> int:
        began = time.monotonic()
        status = end(start(self.log, "release", CHECKPOINT, out, *RELEASE))
        self.seconds.append(time.monotonic() - began)
        return status

    def stop(self, out: Path, number: int, moment: float) -> int:
        """Status of a release that gets a signal; moment: from 0, its start, to 1, the end of a usual one."""
        # of late, and not the slowest: what else the machine does comes and goes
        usual = sorted(self.seconds[-5:])[1]
        pid = start(self.log, "release", CHECKPOINT, out, *RELEASE)
        time.sleep(moment * usual)
        os.kill(pid, number)
        return end(pid)


@dataclass
class Row:
    """What came of all trials of one kind."""

    name: str
    trials: int = 0
    stood: Counter[str] = field(default_factory=Counter)
    strays: int = 0
    strays_after_next: int = 0
    statuses: Counter[int] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)

    def look(self, bench: Bench, out: Path, status: int) -> str:
        """Which file stands there: "old", "new" or "neither"."""
        digests = {
            hashlib.sha256(content).digest(): name for name, content in (("old", bench.old), ("new", bench.new))
        }
        found = digests.get(hashlib.sha256(out.read_bytes()).digest(), "neither") if out.exists() else "neither"
        self.trials += 1
        self.stood[found] += 1
        self.statuses[status] += 1
        self.strays += bool(strays(out))
        self.expect(found != "neither", "the old file or the new one, found neither")
        return found

    def expect(self, holds: bool, what: str) -> None:
        if not holds:
            self.wrong.append(f"{self.name}, trial {self.trials}: expected {what}")


def strays(out: Path) -> list[str]:
    """All that is neither the file nor its whole report."""
    reports = out.with_name(f"{out.name}.report")
    whole = {out, reports, *(reports / name for name in REPORTS)}
    found = set(out.parent.rglob("*"))
    partial = [f"{reports.name} without all its files"] if reports in found and not whole - {out} <= found else []
    return partial + sorted(path.name for path in found - whole)


def lay_old(bench: Bench, out: Path) -> None:
    """As before the release: the old file alone."""
    shutil.rmtree(out.with_name(f"{out.name}.report"), ignore_errors=True)
    out.write_bytes(bench.old)


def moments(count: int, rng: random.Random) -> list[float]:
    """Random, one in each of so many equal parts of a release."""
    return [(part + rng.random()) / count for part in range(count)]


def killed(bench: Bench, count: int, rng: random.Random) -> Iterator[Row]:
    row = Row("kill -9")
    out = bench.room / "killed" / NAME
    out.parent.mkdir()
    for moment in moments(count, rng):
        lay_old(bench, out)
        row.look(bench, out, bench.stop(out, signal.SIGKILL, moment))
        status = bench.let_through(out)
        row.strays_after_next += bool(strays(out))
        row.expect(status == 0 and out.read_bytes() == bench.new, f"the next release to pass, found status {status}")
        row.expect(not strays(out), f"nothing else after the next release, found {strays(out)}")
        yield row


def interrupted(bench: Bench, number: signal.Signals, count: int, rng: random.Random) -> Iterator[Row]:
    row = Row(number.name)
    out = bench.room / number.name / NAME
    out.parent.mkdir()
    for moment in moments(count, rng):
        lay_old(bench, out)
        status = bench.stop(out, number, moment)
        found, said = row.look(bench, out, status), bench.log.read_text()
        row.expect(status == 128 + number or (status, found) == (0, "new"), f"{128 + number}, found status {status}")
        row.expect(said in ("", "error: interrupted\n"), f"at most one line, found {said!r}")
        row.expect(not strays(out), f"nothing else, found {strays(out)}")
        yield row


def on_small_disks(bench: Bench, count: int) -> Iterator[Row]:
    """From full with the old file alone to a little more than the new one and its report need as well."""
    row = Row("too small a disk")
    full = pages(bench.room / "old")
    needed = sum(map(pages, [bench.room / "new", *(bench.room / "new.report").iterdir()]))
    for number in range(count):
        with tmpfs(bench.room / "disk", (full + round(number * (needed + 2) / (count - 1))) * PAGE) as disk:
            out = disk / NAME
            out.write_bytes(bench.old)
            status = end(start(bench.log, "release", CHECKPOINT, out, *RELEASE))
            found, said = row.look(bench, out, status), bench.log.read_text().splitlines()
            row.expect(
                (status, found) in ((2, "old"), (0, "new")), f"2 and old, or 0 and new, found {status}, {found}"
            )
            row.expect(len(said) == (status == 2), f"one line with status 2, else none, found {said}")
            row.expect(not strays(out), f"nothing else, found {strays(out)}")
        yield row


class MountRefusedError(Exception):
    """Who is not root has no disks of his own."""


def pages(file: Path) -> int:
    return -(-file.stat().st_size // PAGE)


@contextmanager
def tmpfs(place: Path, size: int) -> Iterator[Path]:
    """A disk of size bytes. Raises MountRefusedError."""
    place.mkdir(exist_ok=True)
    command = ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(place)]
    mounted = subprocess.run(command, capture_output=True, text=True, check=False)
    if mounted.returncode:
        raise MountRefusedError(mounted.stderr.strip())
    try:
        yield place
    finally:
        subprocess.run(["umount", str(place)], check=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--interrupts", type=int, default=50, help="of each of SIGINT and SIGTERM")
    parser.add_argument("--disks", type=int, default=50)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    rng = random.Random(arguments.seed)
    rows: list[Row] = []
    # no thread that refreshes: it would not survive a fork, and the locks that it holds would
    with (
        tempfile.TemporaryDirectory() as directory,
        Progress(auto_refresh=False, transient=True) as bar,
    ):
        bench = Bench(Path(directory))
        for name, count, trials in (
            ("kill -9", arguments.kills, killed(bench, arguments.kills, rng)),
            ("SIGINT", arguments.interrupts, interrupted(bench, signal.SIGINT, arguments.interrupts, rng)),
            ("SIGTERM", arguments.interrupts, interrupted(bench, signal.SIGTERM, arguments.interrupts, rng)),
            ("small disks", arguments.disks, on_small_disks(bench, arguments.disks)),
        ):
            task = bar.add_task(name, total=count)
            try:
                for row in trials:
                    bar.update(task, completed=row.trials, refresh=True)
                rows.append(row)
            except MountRefusedError as error:
                print(f"{name}: skipped: {error}")
    show(rows)
    sys.exit(any(row.wrong for row in rows))


def show(rows: list[Row]) -> None:
    table = plain_table(
        "fault", "trials", "old file", "new file", "strays", "after the next run", "statuses", "wrong"
    )
    for row in rows:
        statuses = ", ".join(f"{number} of status {status}" for status, number in sorted(row.statuses.items()))
        counts = (row.trials, row.stood["old"], row.stood["new"], row.strays, row.strays_after_next)
        table.add_row(row.name, *map(str, counts), statuses, str(len(row.wrong)))
    stdout_console().print(table)
    for row in rows:
        for line in row.wrong:
            print(line)


if __name__ == "__main__":
    main()
