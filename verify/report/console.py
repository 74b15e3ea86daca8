"""Write reports and progress to the terminal, or to what stands in its place."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from functools import partial
from typing import Any, TextIO

from rich.console import Console
from rich.table import Table
from rich.text import Text

from verify.report.estimate import Estimate
from verify.report.progress_bar import Bar
from verify.report.progress_lines import Heartbeats, ProgressLines
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


class Silence:
    """Takes what a bar takes, shows nothing, and raises Interrupted as a bar does."""

    announces = False

    def __call__(self, _stage: str, _done: int, _total: int) -> None:
        heed()

    def plan(self, _seconds: Mapping[str, float]) -> None:
        """Show nothing."""

    def tell(self, _line: str) -> None:
        """Show nothing."""


Display = Bar | ProgressLines | Silence


@contextmanager
def progress_bar(*, enabled: bool, verbose: bool = False) -> Iterator[Display]:
    """Show progress on standard error: a bar on a terminal, lines elsewhere.

    verbose: also leave a line for each stage on a terminal.
    """
    console = Console(stderr=True, highlight=False)
    if not enabled or sys.stderr is None:
        yield Silence()
    elif console.is_terminal:
        with Bar(console, Estimate(), verbose=verbose) as bar:
            yield bar
    else:
        lines = ProgressLines(partial(_write_line, sys.stderr), Estimate())
        with Heartbeats(lines.beat):
            yield lines
        lines.close()


def _write_line(file: TextIO, line: str) -> None:
    # one call for each line, so that lines of other processes in the same log do not cut it; a log that is full or
    # closed changes no verdict
    with suppress(OSError, ValueError):
        file.write(f"{printable(line)}\n")
        file.flush()
