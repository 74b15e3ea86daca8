"""The commands that show what files hold, without a source and without a verdict."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import rich_click as click

from verify.cli import panels
from verify.cli.arguments import explaining
from verify.cli.option_types import PATH, TARGET
from verify.cli.results import print_json

_JSON = click.option("--json", is_flag=True, panel=panels.OUTPUT, help="Print JSON.")


@click.command(
    cls=panels.Command,
    epilog="Example: export-and-verify inspect model.bin --tensor layers.0.attention.wq.weight",
)
@click.argument(
    "file",
    type=PATH,
    metavar="FILE",
    panel=panels.SOURCE,
    help="A .bin file, a model's directory, or a llama2.c .pt.",
)
@click.option("--tensor", metavar="NAME", panel=panels.SOURCE, help="Show this tensor's statistics and histogram.")
@click.option("--npy", type=TARGET, metavar="OUT", panel=panels.OUTPUT, help="Write the tensor to OUT, as float32.")
@_JSON
def inspect(file: Path, tensor: str | None, npy: Path | None, json: bool) -> int:
    """Show what a file holds: header, parameters, bits a weight, tensors, digest. Needs no source.

    It also names what the format cannot express.
    """
    if tensor is not None:
        return _inspect_tensor(file, tensor, npy, json=json)
    if npy is not None:
        raise click.UsageError("--npy: expected --tensor NAME beside it, found none")
    from verify.inspect_file import inspect_file, show_inspection  # noqa: PLC0415

    with explaining(file):
        contents = inspect_file(file)
    if json:
        print_json(contents)
    else:
        show_inspection(contents)
    return 0


def _inspect_tensor(file: Path, tensor: str, npy: Path | None, *, json: bool) -> int:
    import reader_c  # noqa: PLC0415
    from verify.errors import CannotJudgeError  # noqa: PLC0415
    from verify.inspection.numbers import known_name  # noqa: PLC0415
    from verify.inspection.show import show_statistics  # noqa: PLC0415
    from verify.inspection.tensor_statistics import tensor_statistics, write_npy  # noqa: PLC0415

    if file.is_dir():
        raise CannotJudgeError(f"{file}: FILE: expected a .bin file for --tensor, found a directory: export it as v3")
    with explaining(file), reader_c.open(file, mapped=True) as model:
        name = known_name(file, tensor, model.names)
        if npy is not None:
            write_npy(model, name, npy)
        found = tensor_statistics(model, name)
    if json:
        print_json({**_plain(dataclasses.asdict(found)), "bits_a_weight": found.bits})
    else:
        show_statistics(found)
        if npy is not None:
            click.echo(f"float32 values: {npy}")
    return 0


@click.command(cls=panels.Command, epilog="Example: export-and-verify diff old.bin new.bin")
@click.argument("a", type=PATH, metavar="A", panel=panels.SOURCE, help="A .bin file of any format.")
@click.argument("b", type=PATH, metavar="B", panel=panels.SOURCE, help="Another.")
@_JSON
@click.option("--quiet", is_flag=True, panel=panels.OUTPUT, help="Print nothing but errors: the exit status answers.")
def diff(a: Path, b: Path, json: bool, quiet: bool) -> int:
    """Compare two .bin files of any formats: header fields, and the numbers of every tensor.

    Exit status: 0 if both state the same model with the same numbers, 1 if they differ, 2 for trouble.
    """
    from verify.inspection.difference import compare  # noqa: PLC0415
    from verify.inspection.show import show_difference  # noqa: PLC0415

    with explaining(b), explaining(a):
        found = compare(a, b)
    if json:
        print_json({**_plain(dataclasses.asdict(found)), "alike": found.alike})
    elif not quiet:
        show_difference(found)
    return 0 if found.alike else 1


def _plain(value: Any) -> Any:
    """Return what JSON has: it has no infinity, which becomes text as in a report."""
    from verify.report.document import plain  # noqa: PLC0415

    return plain(value)
