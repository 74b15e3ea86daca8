"""Lines and tables for a terminal of any width, and for files and pipes, which have none."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Console
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from verify.system.printable import printable

# No row of a table is as wide.
_ENDLESS = 100_000
# Below this, a table with sentences in its last column would have a word a line there.
_FEWEST_FOR_SENTENCES = 40
_BETWEEN = "  "


def say(console: Console, text: str, *, markup: bool = False) -> None:
    """Print a sentence: on a terminal it wraps at words, elsewhere it is one line."""
    console.print(text, markup=markup, soft_wrap=not console.is_terminal)


def print_table(console: Console, table: Table) -> None:
    """Print a table: elsewhere than on a terminal each row is one line, without spaces at its end."""
    if console.is_terminal:
        console.print(table)
        return
    width, console.width = console.width, _ENDLESS
    try:
        with console.capture() as captured:
            console.print(table)
    finally:
        console.width = width
    for line in captured.get().splitlines():
        console.out(line.rstrip(), highlight=False)


def print_rows(console: Console, headings: Sequence[str], rows: Sequence[Sequence[Text | str]]) -> None:
    """Print rows whose last cell is a sentence. It wraps beside the others, or below them where there is no room."""
    texts = [[Text(printable(cell)) if isinstance(cell, str) else cell for cell in row] for row in rows]
    heading = [Text(cell, style="bold") for cell in headings]
    widths = [max(row[at].cell_len for row in (heading, *texts)) for at in range(len(headings) - 1)]
    left = sum(widths) + len(_BETWEEN) * len(widths)
    room = console.width - left
    for row in (heading, *texts):
        cells = Text()
        for cell, width in zip(row, widths, strict=False):
            cells.append_text(cell).append(" " * (width - cell.cell_len) + _BETWEEN)
        if not console.is_terminal:
            console.print(cells.append_text(row[-1]), soft_wrap=True)
        elif room >= _FEWEST_FOR_SENTENCES:
            grid = Table.grid(padding=0)
            grid.add_column(width=left, no_wrap=True)
            grid.add_column(width=room, overflow="fold")
            grid.add_row(cells, row[-1])
            console.print(grid)
        else:
            console.print(cells)
            if row is not heading:
                console.print(Padding(row[-1], (0, 0, 0, len(_BETWEEN))))
