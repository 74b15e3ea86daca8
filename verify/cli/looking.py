"""The commands that show what files hold, without a source and without a verdict."""

from __future__ import annotations

from pathlib import Path

import rich_click as click

from verify.cli import panels
from verify.cli.option_types import PATH


@click.command(cls=panels.Command, epilog="Example: export-and-verify inspect model.bin")
@click.argument("file", type=PATH)
@click.option("--json", is_flag=True, help="Print JSON.")
def inspect(file: Path, json: bool) -> int:
    """Show a file's header, tensor table, sizes and digest, and what the format cannot express. Needs no source."""
    from verify.inspect import inspect_file, show_inspection  # noqa: PLC0415

    contents = inspect_file(file)
    if json:
        import json as encoder  # noqa: PLC0415

        click.echo(encoder.dumps(contents, indent=2))
    else:
        show_inspection(contents)
    return 0


@click.command(cls=panels.Command, epilog="Example: export-and-verify diff old.bin new.bin")
@click.argument("a", type=PATH)
@click.argument("b", type=PATH)
def diff(a: Path, b: Path) -> int:
    """Compare two files."""
    return 0
