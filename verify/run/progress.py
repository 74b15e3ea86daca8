"""Progress of long work: stages, the parts of a stage, and how long each stage took."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TypeVar

from verify.system.imports import counted_imports
from verify.system.pulse import heard_by

Found = TypeVar("Found")

# (stage, work done, work in all)
Progress = Callable[[str, int, int], None]

# Up to this share of a part, progress follows the pulses; beyond it, it approaches the end without reaching it, in
# case more pulses come than were predicted.
_FOLLOWED = 0.8


def no_progress(_stage: str, _done: int, _total: int) -> None:
    """Report progress to nobody."""


def no_forecast(_seconds: Mapping[str, float]) -> None:
    """Tell a forecast to nobody."""


class Meter:
    """Reports how far a stage is, from the pulses of its parts.

    total: predicted work of all parts.
    """

    def __init__(self, progress: Progress, stage: str, total: float) -> None:
        self._progress, self._stage, self._total = progress, stage, total
        self._done = 0.0
        self._report(0.0)

    @contextmanager
    def part(self, work: float) -> Iterator[None]:
        """Count the pulses within the block as progress up to `work`, the predicted work of this part.

        An exception of the progress function is raised at the end of the block: within, it would be taken for one of
        the code that computes. An interrupt is raised at once.
        """
        heard, failed = 0.0, None

        def hear(more: float) -> None:
            nonlocal heard, failed
            heard += more
            if failed is None:
                try:
                    self._report(self._done + work * _share(heard / work))
                except Exception as error:  # whatever a caller's function raises
                    failed = error

        with heard_by(hear), counted_imports():
            yield
        if failed is not None:
            raise failed
        self._done += work
        self._report(self._done)

    def each(self, found: Iterator[Found], works: Sequence[float]) -> Iterator[Found]:
        """Yield what is found, each a part of the stage. works: the predicted work of each."""
        for work in works:
            with self.part(work):
                one = next(found)
            yield one
        for _more in found:
            raise ValueError(f"{self._stage}: more was found than was predicted")
        self.finish()

    def finish(self) -> None:
        """Report the end of the stage."""
        self._progress(self._stage, self._whole, self._whole)

    @property
    def _whole(self) -> int:
        return max(1, round(self._total))

    def _report(self, done: float) -> None:
        # the end is reported by finish() alone
        self._progress(self._stage, min(round(done), self._whole - 1), self._whole)


def _share(heard: float) -> float:
    """Return the share of a part that is done, from the share of its predicted work that was heard of."""
    if heard <= _FOLLOWED:
        return heard
    rest = 1 - _FOLLOWED
    return 1 - rest * math.exp((_FOLLOWED - heard) / rest)


@contextmanager
def whole_stage(progress: Progress, stage: str, work: float) -> Iterator[None]:
    """Report a stage of one part. work: predicted."""
    meter = Meter(progress, stage, work)
    with meter.part(work):
        yield
    meter.finish()


class Stopwatch:
    """Passes progress on, and measures how long each stage takes: until the next one begins."""

    def __init__(self, progress: Progress, clock: Callable[[], float] = time.monotonic) -> None:
        self._progress, self._clock = progress, clock
        self._stage: str | None = None
        self._begun = 0.0
        self._seconds: dict[str, float] = {}

    @classmethod
    def around(cls, progress: Progress) -> Stopwatch:
        """Return the stopwatch that this progress already is, or a new one."""
        return progress if isinstance(progress, cls) else cls(progress)

    def __call__(self, stage: str, done: int, total: int) -> None:
        if stage != self._stage:
            self._end()
            self._stage, self._begun = stage, self._clock()
        self._progress(stage, done, total)

    def seconds(self) -> dict[str, float]:
        """Return the seconds of each stage so far, in their order."""
        self._end()
        return dict(self._seconds)

    def _end(self) -> None:
        if self._stage is not None:
            now = self._clock()
            self._seconds[self._stage] = self._seconds.get(self._stage, 0.0) + now - self._begun
            self._begun = now
