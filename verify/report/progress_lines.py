"""Progress where standard error is no terminal: a line for each stage, and a sign of life every 30 seconds.

Nothing is written before a stage of the plan has ended, or the first sign of life is due: what cannot be judged is
refused before that, in one line of its own.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping

from verify.report.estimate import Estimate, in_words
from verify.system.signals import heed

# Seconds between two signs of life.
HEARTBEAT = 30.0

Write = Callable[[str], None]


class ProgressLines:
    """Writes lines. It is called with (stage, done, total), as a bar is.

    announces: show the predicted and the measured cost, too.
    """

    announces = True

    def __init__(self, write: Write, estimate: Estimate) -> None:
        self._write, self._estimate = write, estimate
        # reports and signs of life come from two threads
        self._lock = threading.RLock()
        self._held: list[str] | None = []
        self._last = 0.0

    def __call__(self, stage: str, done: int, total: int) -> None:
        heed()
        with self._lock:
            if stage != self._estimate.stage:
                self._end_stage()
            self._estimate.update(stage, done, total)

    def plan(self, seconds: Mapping[str, float]) -> None:
        """Announce how long the rest is predicted to take."""
        with self._lock:
            self._estimate.plan(seconds)
            self.tell(f"predicted: about {in_words(sum(seconds.values()))}, corrected as the work goes on")

    def tell(self, line: str) -> None:
        """Write a line, or hold it back while the work may still be refused."""
        with self._lock:
            if self._held is not None:
                self._held.append(line)
            else:
                self._last = self._estimate.elapsed
                self._write(line)

    def beat(self) -> None:
        """Write a sign of life if no line was written for so long."""
        with self._lock:
            if self._estimate.elapsed - self._last < HEARTBEAT:
                return
            self._release()
            at = self._estimate
            of_stage = f"{at.stage or 'starting'}: {100 * at.share_of_stage:.0f} %"
            self.tell(f"{of_stage} after {in_words(at.in_stage)}{self._of_all()}")

    def close(self) -> None:
        """Write the line of the last stage."""
        with self._lock:
            self._end_stage()
            self._release()

    def _end_stage(self) -> None:
        if self._estimate.stage:
            self.tell(f"{self._estimate.stage}: done in {self._estimate.in_stage:.1f} s")
        if self._estimate.in_plan:
            self._release()

    def _of_all(self) -> str:
        share, left = self._estimate.share, self._estimate.left
        return "" if share is None or left is None else f"; {100 * share:.0f} % of all, about {in_words(left)} left"

    def _release(self) -> None:
        held, self._held = self._held, None
        for line in held or []:
            self.tell(line)


class Heartbeats:
    """Calls a function every second on a thread of its own, until it is stopped."""

    def __init__(self, beat: Callable[[], None]) -> None:
        self._beat, self._stop = beat, threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True, name="heartbeats")

    def __enter__(self) -> None:
        self._thread.start()

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._stop.wait(1.0):
            self._beat()
