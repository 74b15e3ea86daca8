"""How the help looks: options in groups, choices as metavars, plain text that wraps at any width."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from difflib import get_close_matches
from typing import Any

import rich_click as click

from verify.cli.usage import wrong_command

SOURCE = "Source"
FORMAT = "Format"
EVIDENCE = "Evidence"
JUDGEMENT = "Judgement"
ENGINE = "Engine"
TEXT = "Text"
RESOURCES = "Resources"
OUTPUT = "Output"

HELP = click.RichHelpConfiguration(
    theme="default-slim",
    show_arguments=True,
    text_markup=None,
    # a metavar beside its option, so that no name is broken on a terminal of 80 columns
    options_table_column_types=["required", "opt_short", "opt_long_metavar", "help"],
    append_metavars_help_string="{}",
    options_panel_title="Help",
    arguments_panel_title="Arguments",
    default_string="[default: {}]",
)


def _copied(command: click.Command, rendered: Callable[[click.Context], str], ctx: click.Context) -> str:
    """Return help without spaces at the ends of its lines, and with an example that is not wrapped: it is copied."""
    example, command.epilog = command.epilog, None
    try:
        text = rendered(ctx)
    finally:
        command.epilog = example
    lines = [line.rstrip() for line in text.rstrip().splitlines()]
    return "\n".join([*lines, "", *([example] if example else [])])


class _Formatter(click.RichHelpFormatter):
    """Writes click's plain lists too: the site makes its reference of the commands from them."""

    @contextmanager
    def section(self, name: str) -> Iterator[None]:
        self.console.print(f"{name}:", markup=False)
        yield

    def write_dl(self, rows: Iterable[tuple[str, str]], col_max: int = 30, col_spacing: int = 2) -> None:
        plain = click.HelpFormatter()
        plain.write_dl(list(rows), col_max, col_spacing)
        self.console.print(plain.getvalue(), markup=False, highlight=False, soft_wrap=True)


class _Context(click.RichContext):
    formatter_class = _Formatter


class Command(click.RichCommand):
    """A command of the program."""

    context_class = _Context

    def get_help(self, ctx: click.Context) -> str:
        return _copied(self, super().get_help, ctx)


class Group(click.RichGroup):
    """The commands. A command that does not exist gets the nearest name."""

    context_class = _Context

    def get_help(self, ctx: click.Context) -> str:
        return _copied(self, super().get_help, ctx)

    def resolve_command(self, ctx: click.Context, args: list[str]) -> tuple[Any, Any, list[str]]:
        name = args[0]
        if self.get_command(ctx, name) is None and not ctx.resilient_parsing:
            near = get_close_matches(name, list(self.commands), n=1, cutoff=0.5)
            raise wrong_command(ctx, name, near[0] if near else None)
        return super().resolve_command(ctx, args)
