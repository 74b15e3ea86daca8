"""Would the tests notice a mistake in the Python code that decides?

cosmic-ray makes the mistakes: it exchanges operators, moves numbers by one, negates conditions and omits loops and
decorators. A test has to fail.

    make mutants-python                                   every deciding module: hours; continues where it was stopped
    make mutants-python OF=verify/operations/bounds.py    one of them
    make mutants-python SAMPLE=60                         of modules with more than twice 60, 60 drawn at random
    make mutants-python CHANGES=1                         of modules whose last run noticed all, only changed lines
    make mutants-python SINCE=origin/main                 only on the lines that differ from a commit

A mutant is tried on a copy of the tree, by the tests nearest to its module (deciding.py). Each trial is a fork of a
process that has already imported PyTorch and pytest, so it takes no longer than the tests themselves.
python_unseen.toml lists the mutants that change nothing that a test can see, each with its reason. They are not
tried.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import random
import re
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from contextlib import contextmanager
from multiprocessing import get_context
from pathlib import Path

from deciding import ROOT, deciding, tests_of
from fates import Fates
from mutations import Mutant, mutants
from record import Row, options, save
from recorded import is_recorded, name_of, since_last_run
from workshop import open_workshop, tried

KEPT = ROOT / ".mutants-python"


def changed_lines(since: str, module: str) -> set[int]:
    """Return the numbers of the lines that differ from a commit, or from where this branch left it."""
    command = ["git", "diff", "--unified=0", "--merge-base", since, "--", module]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    found: set[int] = set()
    for start, count in re.findall(r"^@@ -\S+ \+(\d+)(?:,(\d+))? @@", done.stdout, flags=re.MULTILINE):
        found |= set(range(int(start), int(start) + int(count or 1)))
    return found


class Trials:
    """Workshops that try mutants until the time is over; the first mutant opens them, for every module after it."""

    def __init__(self, pool: ProcessPoolExecutor, seconds: float) -> None:
        self._pool, self._ends = pool, time.monotonic() + seconds

    def of(self, chosen: Iterable[Mutant]) -> Iterator[tuple[Mutant, str]]:
        """Yield each mutant with what noticed it ("" if nothing did), in any order."""
        running = {self._pool.submit(tried, one, tests_of(one.module), self._ends): one for one in chosen}
        for done in as_completed(running):
            if (fate := done.result()) is not None:
                yield running[done], fate


@contextmanager
def trials(jobs: int, seconds: float) -> Iterator[Trials]:
    with (
        tempfile.TemporaryDirectory() as room,
        ProcessPoolExecutor(jobs, get_context("fork"), open_workshop, (Path(room),)) as pool,
    ):
        yield Trials(pool, seconds)


def judge_changes(since: str, tries: Trials, seconds: float) -> None:
    """Try the mutants on changed lines, in an order that is always the same; exit with 1 if one survives."""
    chosen: list[Mutant] = []
    for module in deciding():
        if lines := changed_lines(since, module):
            text = (ROOT / module).read_text(encoding="utf-8")
            chosen += [mutant for mutant in mutants(module, text, lines) if not mutant.unseen]
    random.Random(0).shuffle(chosen)
    fates = Counter[bool]()
    for mutant, fate in tries.of(chosen):
        fates[bool(fate)] += 1
        if not fate:
            print(f"survived: {mutant.told}", flush=True)
    print(f"{len(chosen)} mutants on lines that differ from {since}: {fates[True]} noticed, {fates[False]} survived")
    if left := len(chosen) - fates.total():
        print(f"{left} were not tried in {seconds:.0f} s")
    sys.exit(fates[False] > 0)


def judge_module(module: str, tries: Trials, given: argparse.Namespace) -> int:
    """Try the mutants of a module that were not tried before. Return how many survived; record what was tried."""
    began = time.monotonic()
    text = (ROOT / module).read_text(encoding="utf-8")
    if given.changes and is_recorded(module, text):
        return 0
    every = list(mutants(module, text))
    chosen, counted, how = choice(module, text, every, given)
    seen = [mutant for mutant in chosen if not mutant.unseen]
    fates = Fates(KEPT, module, text, again=given.again)
    for mutant, fate in tries.of([one for one in seen if fates.get(one.key) is None]):
        fates.put(mutant.key, fate)
        if not fate:
            print(f"survived: {mutant.told}", flush=True)
    fates.spend(time.monotonic() - began)
    survived = sum(fates.get(mutant.key) == "" for mutant in seen)
    untried = sum(fates.get(mutant.key) is None for mutant in seen)
    unseen = sum(mutant.unseen for mutant in counted)
    noticed = len(counted) - unseen - survived - untried
    told = f"{noticed} noticed, {unseen} make no difference, {survived} others{how}"
    print(f"{module}: {len(counted)} mutants: {told}, {untried} not tried", flush=True)
    if not untried and not given.trial:
        save(
            name_of(module),
            [Row(module, len(counted), told, survived)],
            time.monotonic() - fates.seconds,
            sha256=hashlib.sha256(text.encode()).hexdigest(),
        )
    return survived


def choice(
    module: str, text: str, every: list[Mutant], given: argparse.Namespace
) -> tuple[list[Mutant], list[Mutant], str]:
    """Return the mutants to try, those to count, and in words how they were chosen among all of a module."""
    if given.changes and (since := since_last_run(module, text)):
        changed = [mutant for mutant in every if mutant.lines & since.lines]
        return (
            changed,
            every,
            f"; {len(changed)} of them on lines changed since {since.date}, the others tried then",
        )
    if given.sample and len(every) > 2 * given.sample:
        drawn = random.Random(0).sample(every, given.sample)
        return drawn, drawn, f"; drawn at random from {len(every)}"
    return every, every, ""


def main() -> None:
    parser = options(__doc__)
    parser.add_argument("--of", choices=deciding(), action="append", help="only this module; may be given often")
    parser.add_argument("--since", metavar="COMMIT", help="only on lines that differ from it; keeps nothing")
    parser.add_argument("--changes", action="store_true", help="only lines changed since a run that noticed all")
    parser.add_argument("--again", action="store_true", help="try again what nothing noticed the last time")
    parser.add_argument(
        "--sample", type=int, metavar="N", help="N of modules with more than twice N, always the same"
    )
    parser.add_argument("--jobs", type=int, default=os.cpu_count(), help="how many mutants are tried at a time")
    parser.add_argument("--seconds", type=float, default=float("inf"), help="after which no other mutant is tried")
    given = parser.parse_args()
    with trials(given.jobs, given.seconds) as tries:
        if given.since:
            judge_changes(given.since, tries, given.seconds)
        survived = [judge_module(module, tries, given) for module in given.of or deciding()]
    sys.exit(any(survived))


if __name__ == "__main__":
    main()
