"""What the commands print and write when the work is done."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

import rich_click as click

from verify.cli.defaults import origins, unknown_variables
from verify.system.printable import printable

if TYPE_CHECKING:
    import exporter
    from verify.report.model import Report
    from verify.report.signature import SigningKey


def print_json(contents: object) -> None:
    """Print plain data as JSON."""
    import json  # noqa: PLC0415

    click.echo(json.dumps(contents, indent=2))


def deliver(
    result: Report,
    directory: Path | None,
    *,
    json: bool,
    quiet: bool,
    written: Path | None = None,
    key: SigningKey | None = None,
) -> int:
    """Write the report into directory, show it, and return the exit status.

    written: where it stands already. key: what signs it.
    """
    if directory is not None:
        from verify.report_dir import write_report  # noqa: PLC0415

        write_report(result, directory, key)
        written = directory
    # a reader that closes the pipe does not change the verdict
    with contextlib.suppress(BrokenPipeError):
        if json:
            click.echo(result.to_json(), nl=False)
        elif not quiet:
            from verify.report.console import stdout_console  # noqa: PLC0415
            from verify.report.terminal import show_report  # noqa: PLC0415

            show_report(stdout_console(), result, written)
    return 0 if result.passed else 1


def show_settings(context: click.Context, *, verbose: bool) -> None:
    """Print, where --verbose asks for it, every setting that was not typed, and where it comes from."""
    group = context.find_root().command
    commands = group.commands.values() if isinstance(group, click.Group) else ()
    show_notes(unknown_variables(commands))
    for name, origin in origins(context).items() if verbose else ():
        click.echo(f"setting {printable(name)}: {printable(origin)}", err=True)


def show_notes(notes: Iterable[str]) -> None:
    """Print what was decided about the source without being asked, on standard error."""
    for note in notes:
        click.echo(f"note: {printable(note)}", err=True)


def tell_group_size(summary: exporter.ExportSummary) -> None:
    """Note that another group size than the requested one was used."""
    if summary.group_size and summary.group_size != summary.requested_group_size:
        click.echo(
            f"note: {summary.format}: group size {summary.requested_group_size} does not divide every row of this "
            f"model; {summary.group_size} is used",
            err=True,
        )
