"""Predict how much memory an export takes, before it begins.

Only memory that the system cannot reclaim is counted: anonymous pages. The source is mapped, and the system can drop
its pages and those of the written file at any time.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import prod
from pathlib import Path

from exporter.checkpoint import Checkpoint
from exporter.errors import ExportError

# Bytes for each element of a tensor that is being written: as float32, and as its storage where that is another.
_BYTES_PER_ELEMENT = 4 + 2
# Bytes for each element of a matrix whose rows get another order: one more copy as float32.
_BYTES_REORDERED = 4
# Bytes for the blocks of the arithmetic, and what allocators keep.
_BYTES_OF_BLOCKS = 192 << 20


@dataclass(frozen=True)
class MemoryPlan:
    """How an export keeps within memory.

    at_once: the most elements of tensors that are held at the same time. peak: predicted for the process, in bytes.
    """

    at_once: int
    peak: int

    def describe(self) -> str:
        """Return the prediction as a line for the user."""
        return f"at most {_size(self.peak)} of memory expected"


def plan_memory(checkpoint: Checkpoint, limit: int | None) -> MemoryPlan:
    """Choose how many elements to hold at once: 1.5 times the largest tensor, or that alone under a tight limit.

    limit: in bytes, for the whole process; None for no limit. Raises ExportError where even the largest tensor alone
    exceeds it.
    """
    sizes = {name: prod(checkpoint.shape(name)) for name in checkpoint.names}
    largest = max(sizes.values())
    reordered = max((size for name, size in sizes.items() if ".attention.wq." in name), default=0)
    fixed = anonymous_bytes() + _BYTES_OF_BLOCKS + _BYTES_REORDERED * reordered
    for at_once in (largest * 3 // 2, largest):
        peak = fixed + _BYTES_PER_ELEMENT * at_once
        if limit is None or peak <= limit:
            return MemoryPlan(at_once, peak)
    name = max(sizes, key=sizes.__getitem__)
    raise ExportError(
        f"memory: expected at least {_size(peak)} for {name}, found {_size(limit or 0)}; "
        "give a larger --memory (memory=), or none"
    )


def anonymous_bytes() -> int:
    """Return the bytes of this process that no file backs (RssAnon); 0 where the system does not report it."""
    try:
        lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith("RssAnon:")), 0)


def _size(count: int) -> str:
    """Return bytes as MiB, rounded up, so that a user who passes the printed size passes enough."""
    return f"{-(-count // (1 << 20)):,} MiB"
