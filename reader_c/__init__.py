"""reader_c: reads llama2.c-style .bin files with the C code that runs them.

    with reader_c.open("model.bin") as model:
        logits = model.forward([1, 306, 4658])

Imports nothing of exporter or verify: it is the road that a user's own engine takes.
"""

from __future__ import annotations

import os

from reader_c.choices import Activations, Arithmetic, Path, Rope, best_path, paths
from reader_c.config import Config, RopeScaling
from reader_c.errors import (
    ArgumentError,
    ClosedError,
    InvalidFileError,
    ReaderError,
    ReaderMemoryError,
    ReaderSystemError,
)
from reader_c.model import Model
from reader_c.session import Session
from reader_c.tensors import QuantizedTensor, Span, Storage
from reader_c.trace import Stage, Walk

__all__ = [
    "Activations",
    "ArgumentError",
    "Arithmetic",
    "ClosedError",
    "Config",
    "InvalidFileError",
    "Model",
    "Path",
    "QuantizedTensor",
    "ReaderError",
    "ReaderMemoryError",
    "ReaderSystemError",
    "Rope",
    "RopeScaling",
    "Session",
    "Span",
    "Stage",
    "Storage",
    "Walk",
    "best_path",
    "open",
    "paths",
]


def open(  # noqa: A001  # as one says gzip.open
    path: str | os.PathLike[str], *, check_digests: bool = False, mapped: bool | None = None
) -> Model:
    """Check and load a .bin file of any format. Raises ReaderError: field, offset, expected, found.

    It is copied into memory, so that nothing that becomes of it can end this process or change what was checked;
    mapped where it is larger than half of the machine's memory, or where mapped says so.
    Of a v3 file the head's digest is always checked, those of the tensors where check_digests is set.
    """
    return Model(path, check_digests=check_digests, mapped=mapped)
