"""Does a run leave anything half, or anything stray? Killed, interrupted, many at once, and on disks too small.

    make faults                     some forty minutes, as root: the disks are mounted

Each trial is a whole command line over an earlier file, in a process of its own, forked from one that has imported
everything. Afterwards the earlier file or the new one stands there; and nothing else but its whole report, once
another run was let through, or at once where the process was not killed.
"""

from __future__ import annotations

import os
import random
import shutil
import signal
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

# before numpy is imported: a fork takes none of its threads along
os.environ["OMP_NUM_THREADS"] = os.environ["OPENBLAS_NUM_THREADS"] = "1"

from helpers.disks import MountRefusedError, immutable, pages, read_only, tmpfs
from helpers.forked import end, nothing, start
from helpers.scene import COMMANDS, Scene, Tally
from record import Row, finish, options
from rich.progress import Progress

import verify.report.console

NOBODY = 65534
AT_ONCE = {"export": 32, "release": 8}


def usual_seconds(scene: Scene) -> float:
    """How long a run takes now: what else the machine does comes and goes."""
    took = []
    for _ in range(3):
        began = time.monotonic()
        scene.run()
        took.append(time.monotonic() - began)
    return sorted(took)[1]


def moments(scene: Scene, count: int, rng: random.Random) -> Iterator[float]:
    """Seconds after a start, random in each of so many equal parts of a run."""
    for part in range(count):
        if part % 50 == 0:
            usual = usual_seconds(scene)
        yield (part + rng.random()) / count * usual


def stopped(scene: Scene, number: signal.Signals, moment: float) -> tuple[int, str]:
    """Status and words of a run that gets a signal."""
    scene.lay(scene.target)
    pid = start(scene.log, *scene.arguments())
    time.sleep(moment)
    os.kill(pid, number)
    return end(pid), scene.log.read_text(encoding="utf-8")


def look(scene: Scene, tally: Tally, status: int) -> str:
    """Which one stands there, after any trial."""
    found = scene.found()
    tally.add(status, found, scene.strays())
    # between the two renames of a directory nothing has its name; the next run brings it back
    away = status == 128 + signal.SIGKILL and scene.name == "export hf" and found == "nothing"
    tally.expect(found in ("old", "new") or away, f"the old or the new, found {found}")
    return found


def expect_next_run_to_pass(scene: Scene, tally: Tally) -> None:
    status, said = scene.run()
    tally.expect(status == 0 and scene.found() == "new", f"the next run to pass, found {status}: {said!r}")
    tally.expect(scene.whole() and not scene.strays(), f"nothing else after the next run, found {scene.strays()}")


def killed(scene: Scene, count: int, rng: random.Random) -> Iterator[Tally]:
    tally = Tally(f"{scene.name}: kill -9 at a random moment")
    for moment in moments(scene, count, rng):
        status, _ = stopped(scene, signal.SIGKILL, moment)
        look(scene, tally, status)
        expect_next_run_to_pass(scene, tally)
        yield tally


def look_after_interrupt(scene: Scene, tally: Tally, number: signal.Signals, status: int, said: str) -> None:
    found = look(scene, tally, status)
    tally.expect(status == 128 + number or (status, found) == (0, "new"), f"{128 + number}, found status {status}")
    # before main() listens, SIGTERM has no words and SIGINT is answered by this campaign
    words = ("", "error: interrupted\n") if number == signal.SIGINT else ("",)
    tally.expect(said in words, f"at most one line, found {said!r}")
    tally.expect(not scene.strays(), f"nothing else, found {scene.strays()}")


def interrupted(scene: Scene, number: signal.Signals, count: int, rng: random.Random) -> Iterator[Tally]:
    tally = Tally(f"{scene.name}: {number.name} at a random moment")
    for moment in moments(scene, count, rng):
        status, said = stopped(scene, number, moment)
        look_after_interrupt(scene, tally, number, status, said)
        yield tally


def signalling(number: signal.Signals, call: int) -> Callable[[], None]:
    """Makes a process signal itself at one of the reports of progress."""

    def before() -> None:
        left, last = call, ("", 0)

        class Signalling(verify.report.console.Silence):
            def __call__(self, stage: str, done: int, total: int) -> None:
                nonlocal left, last
                # a twentieth of a stage: there are more calls than anybody would wait for
                if (stage, 20 * done // total) == last:
                    return
                last = stage, 20 * done // total
                left -= 1
                if left == 0:
                    os.kill(os.getpid(), number)

        @contextmanager
        def progress_bar(**_options: bool) -> Iterator[verify.report.console.Silence]:
            yield Signalling()

        verify.report.console.progress_bar = progress_bar

    return before


def interrupted_in_each_stage(scene: Scene, number: signal.Signals) -> Iterator[Tally]:
    tally = Tally(f"{scene.name}: {number.name} at each report of progress")
    call = 1
    while True:
        scene.lay(scene.target)
        status, said = scene.run(signalling(number, call))
        if status == 0:
            break
        look_after_interrupt(scene, tally, number, status, said)
        tally.expect(status != 0 and scene.found() == "old", "the old one, while there is work to do")
        call += 1
        yield tally
    tally.expect(call > 10, "more reports of progress")
    yield tally


def on_small_disks(scene: Scene) -> Iterator[Tally]:
    """From full with the old one alone to what the old one, the new one and its report need; page by page."""
    tally = Tally(f"{scene.name}: each page at which a disk is full")
    old = pages(scene.room / "old")
    scene.run()
    most = old + pages(scene.target) + 8
    shutil.rmtree(scene.target)
    scene.target.mkdir()
    for size in range(old, most + 1):
        with tmpfs(scene.target, size):
            shutil.copytree(scene.room / "old", scene.target, dirs_exist_ok=True)
            status, said = scene.run()
            found = look(scene, tally, status)
            tally.expect((status, found) in ((2, "old"), (0, "new")), f"2, old or 0, new, found {status}, {found}")
            lines = said.splitlines()
            tally.expect(len(lines) == (status == 2), f"one line with status 2, else none, found {lines}")
            tally.expect(status == 0 or str(scene.target) in said, f"a line that says where, found {lines}")
            tally.expect(not scene.strays(), f"nothing else, found {scene.strays()}")
            tally.expect(size < most or status == 0, f"room enough on {size} pages, found {lines}")
        yield tally


def where_nobody_writes(scene: Scene) -> Iterator[Tally]:
    """A read-only disk, a directory and a file that cannot be changed, and a user without rights."""
    tally = Tally(f"{scene.name}: where nothing can be written")

    def refused(before: Callable[[], None] = nothing) -> None:
        status, said = scene.run(before)
        found = look(scene, tally, status)
        tally.expect((status, found) == (2, "old"), f"status 2 and the old one, found {status} and {found}")
        tally.expect(len(said.splitlines()) == 1 and str(scene.target) in said, f"one line, found {said!r}")
        tally.expect(not scene.strays(), f"nothing else, found {scene.strays()}")

    with tmpfs(scene.target, 4096):
        shutil.copytree(scene.room / "old", scene.target, dirs_exist_ok=True)
        with read_only(scene.target):
            refused()
    scene.lay(scene.target)
    with immutable(scene.target):
        refused()
    if scene.out.is_file():
        with immutable(scene.out):
            refused()
    for directory in (scene.target, *scene.target.rglob("*/")):
        directory.chmod(0o555)
    refused(lambda: os.setuid(NOBODY))
    expect_next_run_to_pass(scene, tally)
    yield tally


def at_once(scene: Scene, rounds: int, *, overwrite: bool) -> Iterator[Tally]:
    """Many processes for one name."""
    count = AT_ONCE[scene.name.partition(" ")[0]]
    tally = Tally(f"{scene.name}: {count} at once{'' if overwrite else ', without --overwrite'}")
    for _ in range(rounds):
        scene.lay(scene.target)
        logs = [scene.room / f"log{number}" for number in range(count)]
        arguments = [scene.arguments(number % 2, overwrite=overwrite) for number in range(count)]
        processes = [start(log, *own) for log, own in zip(logs, arguments, strict=True)]
        statuses = [end(pid) for pid in processes]
        for status, log in zip(statuses, logs, strict=True):
            said = log.read_text(encoding="utf-8")
            look(scene, tally, status)
            tally.expect(status in (0, 2), f"status 0 or 2, found {status}: {said!r}")
            tally.expect(
                len(said.splitlines()) == (status == 2), f"one line with status 2, else none, found {said!r}"
            )
        tally.expect(
            statuses.count(0) == (count if overwrite else 1), f"all, or one alone, to pass, found {statuses}"
        )
        tally.expect(scene.whole() and not scene.strays(), f"nothing else, found {scene.strays()}")
        tally.expect(scene.is_reported(), "the report of the file that stands there")
        yield tally


def main() -> None:
    parser = options(__doc__)
    parser.add_argument("--kills", type=int, default=1000, help="of each of a release and the exports")
    parser.add_argument("--interrupts", type=int, default=200, help="of each of SIGINT and SIGTERM")
    parser.add_argument("--rounds", type=int, default=10, help="of many at once")
    parser.add_argument("--command", action="append", choices=COMMANDS, help="only this one; may be given often")
    parser.add_argument("--no-disks", action="store_true")
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    began = time.monotonic()
    rng = random.Random(given.seed)
    tallies: list[Tally] = []
    # no thread that refreshes: it would not survive a fork, and the locks that it holds would
    with tempfile.TemporaryDirectory() as directory, Progress(auto_refresh=False, transient=True) as bar:

        def count(trials: Iterator[Tally]) -> None:
            tally, task = None, bar.add_task("", total=None)
            for tally in trials:
                bar.update(task, description=tally.name, completed=tally.trials, refresh=True)
            if tally:
                tallies.append(tally)

        for name in given.command or ("export v2", "export v3", "export hf", "release v2"):
            room = Path(directory) / name
            room.mkdir()
            # for whoever is not root
            Path(directory).chmod(0o755)
            scene = Scene(room, name)
            count(killed(scene, given.kills, rng))
            for number in (signal.SIGINT, signal.SIGTERM):
                count(interrupted(scene, number, given.interrupts, rng))
                count(interrupted_in_each_stage(scene, number))
            count(at_once(scene, given.rounds, overwrite=True))
            empty = Path(directory) / f"{name}, nothing there"
            empty.mkdir()
            count(at_once(Scene(empty, name, over=False), given.rounds, overwrite=False))
            if not given.no_disks:
                try:
                    count(where_nobody_writes(scene))
                    count(on_small_disks(scene))
                except MountRefusedError as error:
                    print(f"{name}: disks: skipped: {error}")
    print("\n".join(line for tally in tallies for line in tally.wrong))
    rows = [Row(tally.name, tally.trials, tally.result, len(tally.wrong)) for tally in tallies]
    finish("faults", rows, began, trial=given.trial)


if __name__ == "__main__":
    main()
