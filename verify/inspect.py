"""What a file says of itself."""

from __future__ import annotations

import dataclasses
import hashlib
from pathlib import Path
from typing import Any

import reader_c
from verify.report.terminal import plain_table, stdout_console

# No reader of v0 to v2 can be told otherwise.
_ASSUMED = (
    "rope_theta 10000",
    "no RoPE scaling",
    "norm_eps 1e-5",
    "head size dim / n_heads",
    "no biases",
    "SiLU",
)


def inspect_file(path: Path) -> dict[str, Any]:
    """Plain data: format, header, tensors with their places, digest, and what the format cannot express."""
    with reader_c.open(path) as model:
        digest = hashlib.sha256(model.content).hexdigest()
        return {
            "path": str(path),
            "format": model.format,
            "bytes": model.file_size,
            "sha256": digest,
            "config": dataclasses.asdict(model.config),
            "tensors": [dataclasses.asdict(span) for name in model.names for span in model.spans(name)],
            "assumed": list(_ASSUMED),
        }


def show_inspection(contents: dict[str, Any]) -> None:
    console = stdout_console()
    console.print(
        f"{contents['path']}: {contents['format']}, {contents['bytes']:,} bytes", markup=False, soft_wrap=True
    )
    console.print(f"sha256 {contents['sha256']}", soft_wrap=True)
    header = plain_table("field", "value")
    for field, value in contents["config"].items():
        header.add_row(field, str(value))
    console.print(header)
    console.print(f"not in this format, so assumed by its readers: {', '.join(contents['assumed'])}", soft_wrap=True)
    table = plain_table("tensor", "part", "shape", "offset", "bytes")
    for span in contents["tensors"]:
        shape = " x ".join(map(str, span["shape"]))
        table.add_row(span["name"], span["part"], shape, f"{span['offset']:,}", f"{span['nbytes']:,}")
    console.print(table)
