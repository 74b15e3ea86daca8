"""What an export reports: its progress while it runs, and a summary of the file when it is complete."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

# Called with (bytes done, bytes in all).
Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class TensorSummary:
    """How one tensor was stored.

    Attributes:
        name, shape, storage: of the tensor.
        bytes: of all its parts in the file.
        max_abs_error: the largest |w - stored|, exactly.
        bound: proved for it, 0 where the storage loses nothing.
    """

    name: str
    shape: tuple[int, ...]
    storage: str
    bytes: int
    max_abs_error: float
    bound: float


@dataclass(frozen=True, repr=False)
class ExportSummary:
    """What export() wrote.

    Attributes:
        path, format, bytes: of the file or directory.
        sha256: of the file; for a directory, of the list of its files' digests (see HuggingFaceSummary).
        seconds: that the export took.
        group_size: the smallest in the file, 0 where no tensor is Q8_0.
        requested_group_size: the one that the caller passed.
        tensors: how each tensor was stored.
        notes: lines for the user, such as why a v3 file has no tokenizer.
    """

    path: Path
    format: str
    bytes: int
    sha256: str
    seconds: float
    group_size: int
    requested_group_size: int
    tensors: tuple[TensorSummary, ...]
    notes: tuple[str, ...] = ()

    def __repr__(self) -> str:
        what = f"{self.format}, {self.bytes:,} bytes, {len(self.tensors)} tensors"
        return f"<exporter.ExportSummary {os.fspath(self.path)!r}: {what}, sha256 {self.sha256[:12]}...>"
