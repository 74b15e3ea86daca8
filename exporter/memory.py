"""How much memory an export takes, told before it begins.

Counted is what cannot be given back: anonymous pages. Pages of the source, which is mapped, and of the file are not.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import prod
from pathlib import Path

from exporter.checkpoint import Checkpoint
from exporter.errors import ExportError

# Of an element under way: as float32, and as it is stored where that is another type.
_BYTES = 4 + 2
# Of a matrix whose rows are put into another order: once more.
_REORDERED = 4
# What blocks of the arithmetic take, and what allocators keep.
_BLOCKS = 192 << 20


@dataclass(frozen=True)
class Room:
    """at_once: most elements of tensors that are under way together. peak: predicted, in bytes."""

    at_once: int
    peak: int

    def describe(self) -> str:
        return f"at most {_size(self.peak)} of memory expected"


def room_for(checkpoint: Checkpoint, limit: int | None) -> Room:
    """Half as much again as the largest tensor, or that alone where the limit, in bytes, wants it. Raises ExportError
    where it is too little for that too."""
    sizes = {name: prod(checkpoint.shape(name)) for name in checkpoint.names}
    largest = max(sizes.values())
    reordered = max((size for name, size in sizes.items() if ".attention.wq." in name), default=0)
    lasting = _anonymous() + _BLOCKS + _REORDERED * reordered
    for at_once in (largest * 3 // 2, largest):
        peak = lasting + _BYTES * at_once
        if limit is None or peak <= limit:
            return Room(at_once, peak)
    name = max(sizes, key=sizes.__getitem__)
    raise ExportError(f"memory: expected at least {_size(peak)} for {name}, found {_size(limit or 0)}")


def _anonymous() -> int:
    """Bytes of this process that no file could give back; 0 where the system does not tell."""
    try:
        lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith("RssAnon:")), 0)


def _size(count: int) -> str:
    """Rounded up, so that what is asked for is enough."""
    return f"{-(-count // (1 << 20)):,} MiB"
