"""The contents of a file: header, metadata and tensor table."""

from __future__ import annotations

import dataclasses
import hashlib
import os
from pathlib import Path
from typing import Any

from rich.console import Console

import reader_c
from verify.inspection.checkpoints import inspect_checkpoint, is_checkpoint, show_checkpoint
from verify.inspection.sizes import in_words, mib, sizes
from verify.report.console import plain_table, stdout_console
from verify.report.formatting import config_in_words
from verify.report.lines import print_table

# The headers of v0 to v2 cannot state other values.
_ASSUMED = (
    "rope_theta 10000",
    "no RoPE scaling",
    "norm_eps 1e-5",
    "head size dim / n_heads",
    "no biases",
    "SiLU",
)
# Nor can that of qwen3.c's files.
_ASSUMED_BY_QWEN3C = (
    "rope_theta 1000000",
    "no RoPE scaling",
    "norm_eps 1e-6",
    "norms of queries and keys per head",
    "no biases",
    "SiLU",
)

# Tensors in the printed table: nobody reads more, and each takes some milliseconds.
_MOST_ROWS = 2000


def headline(path: Path) -> str:
    """Describe a file in one line, from its header alone, or a directory. Raises reader_c.ReaderError."""
    if path.is_dir():
        size = sum(entry.stat().st_size for entry in path.iterdir() if entry.is_file())
        return f"{path}: hf, {size:,} bytes"
    with reader_c.open(path) as model:
        return f"{path}: {model.format}, {model.file_size:,} bytes, {len(model.names)} tensors"


def inspect(path: str | os.PathLike[str]) -> dict[str, Any]:
    """Describe a .bin file, without its source.

    Args:
        path: the file.

    Returns:
        Plain data, as inspect --json prints it: format, header, metadata, tensors with offsets and digests, and what
        the format cannot express.

    Raises:
        reader_c.ReaderError: the file is damaged; in v3, every changed bit is detected.
        CannotJudgeError: the path is not one of a file.
    """
    return inspect_file(Path(path))


def inspect_file(path: Path) -> dict[str, Any]:
    """Return plain data: format, header, metadata, tensors with offsets and digests, what the format cannot express.

    Raises reader_c.ReaderError if the file is damaged; in v3, every changed bit is detected.
    """
    if is_checkpoint(path):
        return inspect_checkpoint(path)
    with reader_c.open(path) as model:
        if model.format == "v3":
            model.check_digests()
        tensors = [_tensor(model, name) for name in model.names]
        return {
            "path": str(path),
            "format": model.format,
            "bytes": model.file_size,
            **sizes(tensors, model.file_size),
            "sha256": hashlib.sha256(model.content).hexdigest(),
            "head_bytes": model.head_size,
            "alignment": model.alignment,
            "config": dataclasses.asdict(model.config),
            "metadata": model.metadata,
            "tensors": tensors,
            "assumed": list(_assumed(model.format)),
        }


def _assumed(file_format: str) -> tuple[str, ...]:
    return {"v3": (), "ajc1": _ASSUMED_BY_QWEN3C}.get(file_format, _ASSUMED)


def _tensor(model: reader_c.Model, name: str) -> dict[str, Any]:
    places = [{"part": s.part, "shape": s.shape, "offset": s.offset, "bytes": s.nbytes} for s in model.spans(name)]
    return {**dataclasses.asdict(model.storage(name)), "parts": places}


def show_inspection(contents: dict[str, Any]) -> None:
    console = stdout_console()
    console.print(
        f"{contents['path']}: {contents['format']}, {contents['bytes']:,} bytes", markup=False, soft_wrap=True
    )
    console.print(in_words(contents), soft_wrap=True)
    if "files" in contents:
        show_checkpoint(console, contents)
        return
    console.print(f"sha256 {contents['sha256']}", soft_wrap=True)
    _show_config(console, contents["config"])
    for key, value in contents["metadata"].items():
        first, *rest = value.splitlines() or [""]
        console.print(f"{key}: {first}", markup=False, soft_wrap=True)
        for line in rest:
            # indented, so that no value can look like a line of this output
            console.print(f"  {line}", markup=False, soft_wrap=True)
    if contents["assumed"]:
        assumed = ", ".join(contents["assumed"])
        console.print(f"assumed by readers, because the format cannot state it: {assumed}", soft_wrap=True)
    else:
        console.print(f"{len(contents['tensors'])} tensors, all digests correct", soft_wrap=True)
    _show_tensors(console, contents["tensors"][:_MOST_ROWS])
    if more := contents["tensors"][_MOST_ROWS:]:
        console.print(f"{len(more):,} more tensors: use --json to list them", soft_wrap=True)


def _show_config(console: Console, config: dict[str, Any]) -> None:
    header = plain_table("field", "value")
    for field, value in config_in_words(config).items():
        if isinstance(value, dict):
            # parameters that this kind of scaling does not have are zero
            parameters = (f"{name} {number}" for name, number in value.items() if name != "type" and number)
            header.add_row(field, ", ".join((str(value["type"]), *parameters)))
        else:
            header.add_row(field, str(value))
    print_table(console, header)


def _show_tensors(console: Console, tensors: list[dict[str, Any]]) -> None:
    """Print a line for each part; the first one shows the start of the digest."""
    with_digests = any(tensor["digest"] for tensor in tensors)
    table = plain_table("tensor", "part", "shape", "offset", "bytes", "MiB", *(["blake3"] if with_digests else []))
    for tensor in tensors:
        digest = f"{tensor['digest'][:12]}..." if with_digests else ""
        for place in tensor["parts"]:
            shape = " x ".join(map(str, place["shape"]))
            row = [tensor["name"], place["part"], shape, f"{place['offset']:,}", f"{place['bytes']:,}"]
            row.append(mib(place["bytes"] / 2**20))
            table.add_row(*row, *([digest] if with_digests else []))
            digest = ""
    print_table(console, table)
