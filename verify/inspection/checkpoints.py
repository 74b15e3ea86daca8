"""What a checkpoint holds: a Hugging Face directory, Meta's, or a llama2.c .pt, opened as verify opens it."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

from rich.console import Console

from verify.inspection.sizes import sizes
from verify.report.console import plain_table
from verify.report.lines import print_table

_ZIP = b"PK\x03\x04"


def is_checkpoint(path: Path) -> bool:
    """Return whether a path is a directory or a checkpoint of torch.save, and so no .bin file."""
    if path.is_dir():
        return True
    try:
        with path.open("rb") as file:
            return file.read(4) == _ZIP
    except OSError:
        # the reader says why
        return False


def inspect_checkpoint(path: Path) -> dict[str, Any]:
    """Return plain data: kind, files with digests, config, tensors. Raises CannotJudgeError.

    Its names and shapes are llama2.c's, as those of a .bin file that is made from it.
    """
    from verify.sources import open_source  # noqa: PLC0415  # it imports PyTorch, which a .bin file does not need

    source = open_source(path)
    hyper = source.hyperparameters
    tensors = [
        {"name": name, "shape": tuple(shape), "storage": source.dtype(name)} for name, shape in hyper.shapes().items()
    ]
    directory = path if path.is_dir() else path.parent
    nbytes = sum((directory / name).stat().st_size for name in source.files)
    return {
        "path": str(path),
        "format": source.kind,
        "bytes": nbytes,
        "files": dict(source.files),
        **sizes(tensors, nbytes),
        "config": dataclasses.asdict(hyper),
        "tensors": tensors,
        "notes": list(source.notes),
    }


def show_checkpoint(console: Console, contents: dict[str, Any]) -> None:
    """Print what inspect_checkpoint() returned, below its first lines."""
    for name, digest in contents["files"].items():
        console.print(f"sha256 {digest}  {name}", soft_wrap=True, markup=False)
    for note in contents["notes"]:
        console.print(f"note: {note}", soft_wrap=True, markup=False)
    fields = plain_table("field", "value")
    for field, value in contents["config"].items():
        fields.add_row(field, str(value["type"] if isinstance(value, dict) else value))
    print_table(console, fields)
    table = plain_table("tensor", "shape", "type")
    for tensor in contents["tensors"]:
        table.add_row(tensor["name"], " x ".join(map(str, tensor["shape"])), tensor["storage"])
    print_table(console, table)
