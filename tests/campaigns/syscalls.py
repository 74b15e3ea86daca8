"""Does an export or a release leave anything half where a system call fails? Each call in its turn, each error.

    make syscalls                   twenty minutes of one core, shared out to all; --each 1 tries every one, in hours

First the calls of one run are counted, on files at the target and beside it. Then each of them fails in a run of its
own: once, or that one and all of its kind after it, or half of it is done. Afterwards the earlier file or the new one
stands there, by its digest; status 2 and one line, or status 0 and the new one; and another run leaves nothing else.
"""

from __future__ import annotations

import errno
import os
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from functools import cache
from multiprocessing import get_context
from pathlib import Path

# before numpy is imported: a fork takes none of its threads along
os.environ["OMP_NUM_THREADS"] = os.environ["OPENBLAS_NUM_THREADS"] = "1"

from helpers.failing_calls import CALLS, FROM_THEN_ON, HALF, ONCE, Order, preload

if __name__ == "__main__":
    preload()

from helpers.scene import COMMANDS, Scene, Tally
from record import Row, finish, options
from rich.progress import track

ERRORS = ("EIO", "ENOSPC", "EACCES", "EDQUOT")
# what the system may interrupt
INTERRUPTIBLE = {"open", "close", "read", "write", "fsync", "truncate", "flock"}
# what clearing away takes: where that fails, the rest is left to the next run
CLEANING = {"open", "stat", "list", "flock", "rename", "unlink", "rmdir"}
# of so many failures one is tried: a release takes ten times as long
EACH = {"export": 5, "release": 16}
# failures that a process tries before it is given more
_AT_A_TIME = 40


@dataclass(frozen=True)
class Fault:
    call: str
    nth: int
    how: int
    error: str

    def __str__(self) -> str:
        if self.how == HALF:
            return f"half of {self.call} {self.nth}"
        return f"{self.error} of {self.call} {self.nth}{' and after' if self.how == FROM_THEN_ON else ''}"


@cache
def scene_in(room: Path, name: str, over: bool) -> Scene:
    """One for each process."""
    own = room / f"{name} {over} {os.getpid()}"
    own.mkdir()
    return Scene(own, name, over=over)


def faults(room: Path, name: str, over: bool, hows: set[int], errors: set[str]) -> list[Fault]:
    """One for each call of a run in which none fails."""
    scene = scene_in(room, name, over)
    order = Order(scene.target)
    scene.lay(scene.target)
    status, said = scene.run(order.begin, overwrite=over)
    if status:
        raise RuntimeError(f"{name}: expected status 0, found {status}: {said}")
    found = []
    for call in CALLS:
        for nth in range(1, order.seen[call] + 1):
            refused = [error for error in ERRORS if error in errors]
            found += [Fault(call, nth, how, error) for how in sorted(hows - {HALF}) for error in refused]
            if call in INTERRUPTIBLE and "EINTR" in errors:
                found.append(Fault(call, nth, ONCE, "EINTR"))
            if call in ("read", "write") and HALF in hows:
                found.append(Fault(call, nth, HALF, "EIO"))
    return found


def try_some(room: Path, name: str, over: bool, some: Sequence[Fault]) -> Tally:
    tally = Tally(f"{name}, {'over an earlier one' if over else 'nothing there'}: a system call fails")
    for fault in some:
        try_one(scene_in(room, name, over), tally, fault)
    return tally


def try_one(scene: Scene, tally: Tally, fault: Fault) -> None:
    order = Order(scene.target, fault.call, fault.nth, fault.how, getattr(errno, fault.error))
    scene.lay(scene.target)
    status, said = scene.run(order.begin, overwrite=scene.over)
    found, strays, old = scene.found(), scene.strays(), "old" if scene.over else "nothing"
    tally.add(status, found, strays)

    def expect(holds: bool, what: str) -> None:
        tally.expect(holds, f"{what} ({fault})")

    if status == 0:
        expect(found == "new", f"the new file with status 0, found {found}")
        words = [line for line in said.splitlines() if not line.startswith("note: ")]
        expect(not words, f"no word but notes with status 0, found {said!r}")
        expect(scene.whole() and scene.is_reported(), "all of its report with status 0")
    else:
        one = len(said.splitlines()) == 1 and said.startswith("error: ") and str(scene.target) in said
        expect(status == 2 and one, f"status 2 and one line that says where, found {status}: {said!r}")
        # a directory that is set aside is brought back by the next run, where this one could not
        away = fault.how == FROM_THEN_ON and scene.name == "export hf" and found == "nothing"
        expect(found in (old, "new") or away, f"the old or the new, found {found}")
        expect(("written, " in said) == (found == "new"), f"words that fit {found}, found {said!r}")
    if fault.how != FROM_THEN_ON and fault.call not in CLEANING:
        expect(not strays, f"nothing else, found {strays}")
    if found == "nothing" and old == "old":
        scene.run(overwrite=False)
        expect(scene.found() == "old", f"the old one to be brought back, found {scene.found()}")
    status, said = scene.run()
    expect(status == 0 and scene.found() == "new", f"the next run to pass, found {status}: {said!r}")
    expect(scene.whole() and not scene.strays(), f"nothing else after the next run, found {scene.strays()}")


def main() -> None:
    parser = options(__doc__)
    parser.add_argument("--command", action="append", choices=COMMANDS, help="only this one; may be given often")
    parser.add_argument("--error", action="append", choices=(*ERRORS, "EINTR"), help="only this one; likewise")
    parser.add_argument("--once", action="store_true", help="nothing fails more than once")
    parser.add_argument("--each", type=int, metavar="N", help="only each N-th failure; 1: all")
    given = parser.parse_args()
    began = time.monotonic()
    hows = {ONCE, HALF} if given.once else {ONCE, FROM_THEN_ON, HALF}
    errors = set(given.error or (*ERRORS, "EINTR"))
    tallies: dict[str, Tally] = {}

    def each(name: str) -> int:
        return given.each or EACH[name.partition(" ")[0]]

    # processes, each of which has no other thread: forks take none along
    with (
        tempfile.TemporaryDirectory() as directory,
        ProcessPoolExecutor(os.cpu_count(), get_context("spawn")) as pool,
    ):
        kinds = [(Path(directory), name, over) for name in given.command or COMMANDS for over in (True, False)]
        listed = [pool.submit(faults, *kind, hows, errors) for kind in kinds]
        pending = []
        for kind, future in zip(kinds, listed, strict=True):
            chosen = future.result()[:: each(kind[1])]
            for first in range(0, len(chosen), _AT_A_TIME):
                pending.append(pool.submit(try_some, *kind, chosen[first : first + _AT_A_TIME]))
        for done in track(as_completed(pending), "system calls", len(pending), transient=True):
            tally = done.result()
            tallies.setdefault(tally.name, Tally(tally.name)).join(tally)
    print("\n".join(line for tally in tallies.values() for line in tally.wrong))
    rows = []
    for name, tally in sorted(tallies.items()):
        of = each(name)
        which = f", one of {of}" if of > 1 else ""
        rows.append(Row(name + which, tally.trials, tally.result, len(tally.wrong)))
    finish("system calls", rows, began, trial=given.trial)


if __name__ == "__main__":
    main()
