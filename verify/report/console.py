"""Write reports and progress bars to the terminal."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TaskProgressColumn, TextColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text

from verify.system.printable import printable
from verify.system.signals import heed

# Width of output that is not on a terminal: wide enough that no row is cut.
_FILE_WIDTH = 160


class _Output(Console):
    def render_str(self, text: str, **how: Any) -> Text:
        """Make every text and cell printable, before rich adds control sequences."""
        return super().render_str(printable(text), **how)

    def on_broken_pipe(self) -> None:
        """Let the command line handle a reader that went away; rich would exit with status 1."""
        raise BrokenPipeError


def stdout_console() -> Console:
    """Return the console of standard output."""
    console = _Output(highlight=False)
    return console if console.is_terminal else _Output(highlight=False, width=_FILE_WIDTH)


def plain_table(*headings: str) -> Table:
    """Return a table without a frame, which looks the same in a terminal, a log and a mail."""
    table = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 2, 0, 0))
    for heading in headings:
        table.add_column(heading, overflow="fold")
    return table


def tell(line: str, *, enabled: bool) -> None:
    """Print a line on standard error, but only on a terminal."""
    console = Console(stderr=True, highlight=False)
    if enabled and console.is_terminal:
        console.print(line, soft_wrap=True, markup=False)


class Bar:
    """Moves one bar for each stage when it is called with (stage, done, total).

    It also raises Interrupted for an interrupt that arrived while no code could handle it.
    """

    def __init__(self, bar: Progress, *, shown: bool) -> None:
        self._bar, self._shown = bar, shown
        self._tasks: dict[str, TaskID] = {}

    def __call__(self, stage: str, done: int, total: int) -> None:
        heed()
        if stage not in self._tasks:
            self._tasks[stage] = self._bar.add_task(stage, total=total)
        self._bar.update(self._tasks[stage], completed=done, total=total)

    def tell(self, line: str) -> None:
        """Print a line above the bars, if they are shown."""
        if self._shown:
            self._bar.console.print(line, soft_wrap=True, markup=False, highlight=False)


@contextmanager
def progress_bar(*, enabled: bool) -> Iterator[Bar]:
    """Show bars on standard error, but only on a terminal."""
    console = Console(stderr=True)
    shown = enabled and console.is_terminal
    columns = (TextColumn("{task.description:<10}"), BarColumn(), TaskProgressColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True, disable=not shown) as bar:
        yield Bar(bar, shown=shown)
