"""Sources: one file a kind, and the function that tells them apart."""

from __future__ import annotations

import os
from pathlib import Path

from exporter.checkpoint import Checkpoint
from exporter.errors import CheckpointError

KINDS = ("llama2c",)


def open_checkpoint(path: str | os.PathLike[str], kind: str | None = None) -> Checkpoint:
    """Open a checkpoint of any known kind: today llama2.c's .pt. Raises CheckpointError."""
    path = Path(path)
    if kind is not None and kind not in KINDS:
        raise CheckpointError(f"source kind: expected one of {', '.join(KINDS)}, found {kind!r}")
    if not path.exists():
        raise CheckpointError(f"{path}: expected a llama2.c checkpoint (.pt), found nothing there")
    if not path.is_file():
        raise CheckpointError(f"{path}: expected a llama2.c checkpoint (.pt), found no regular file")
    # imported late: it loads torch, which takes seconds
    from exporter.sources.llama2c import open_llama2c  # noqa: PLC0415

    return open_llama2c(path)
