"""Progress on a terminal: one bar for the whole run, with the stage, its own share, and the time that is left."""

from __future__ import annotations

from collections.abc import Mapping

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn

from verify.report.estimate import Estimate, in_words
from verify.system.signals import heed

# Steps of the bar: finer than any terminal shows.
_STEPS = 100_000


class Bar:
    """Moves the bar when it is called with (stage, done, total).

    It also raises Interrupted for an interrupt that arrived while no code could handle it. verbose: leave a line for
    each stage that has ended. announces: show the predicted and the measured cost, too.
    """

    def __init__(self, console: Console, estimate: Estimate, *, verbose: bool = False) -> None:
        self._estimate, self._verbose, self.announces = estimate, verbose, verbose
        columns = (
            TextColumn("{task.description:<16}"),
            BarColumn(bar_width=None),
            TextColumn("{task.fields[share]:>7}"),
            TextColumn("{task.fields[left]:<18}"),
        )
        self._bar = Progress(*columns, console=console, transient=True, expand=True)
        self._task = self._bar.add_task("starting", total=_STEPS, share="", left="")

    def __enter__(self) -> Bar:
        self._bar.start()
        return self

    def __exit__(self, *error: object) -> None:
        if not any(error):
            self._end_stage()
        self._bar.stop()

    def __call__(self, stage: str, done: int, total: int) -> None:
        heed()
        begins = stage != self._estimate.stage
        if begins:
            self._end_stage()
        self._estimate.update(stage, done, total)
        self._show()
        if begins:
            # at once, because a stage may begin with a long step
            self._bar.refresh()

    def plan(self, seconds: Mapping[str, float]) -> None:
        """Set the predicted seconds of the stages from here on."""
        self._estimate.plan(seconds)
        if self._verbose:
            self.tell(f"predicted: about {in_words(sum(seconds.values()))}, corrected as the work goes on")

    def tell(self, line: str) -> None:
        """Print a line above the bar."""
        self._bar.console.print(line, soft_wrap=True, markup=False, highlight=False)

    def _end_stage(self) -> None:
        if self._verbose and self._estimate.stage:
            self.tell(f"{self._estimate.stage}: done in {self._estimate.in_stage:.1f} s")

    def _show(self) -> None:
        at = self._estimate
        share, left = at.share, at.left
        # tenths, so that the number moves every few seconds of a run of an hour
        self._bar.update(
            self._task,
            description=f"{at.stage} {100 * at.share_of_stage:.0f} %",
            completed=_STEPS * (share or 0.0),
            share="" if share is None else f"{100 * share:.1f} %",
            left="" if left is None else f"{in_words(left)} left",
        )
