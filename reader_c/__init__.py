"""reader_c reads llama2.c-style .bin files, and runs them in C.

    with reader_c.open("model.bin") as model:
        logits = model.forward([1, 306, 4658])

It imports nothing of exporter or verify: it reads a file as a user's own engine would.
"""

from __future__ import annotations

import os
from importlib import metadata
from typing import TYPE_CHECKING

from reader_c.config import Config, Layer, RopeScaling
from reader_c.errors import (
    ArgumentError,
    ClosedError,
    InvalidFileError,
    ReaderError,
    ReaderMemoryError,
    ReaderSystemError,
    UnknownTensorError,
)
from reader_c.generation import generate
from reader_c.model import Model
from reader_c.options import Activations, Arithmetic, Path, Rope, best_path, paths
from reader_c.sampler import Sampler
from reader_c.session import Session
from reader_c.tensors import QuantizedTensor, Span, Storage
from reader_c.tokenizer import Tokenizer
from reader_c.trace import Stage, Walk

if TYPE_CHECKING:
    __version__: str

__all__ = [
    "Activations",
    "ArgumentError",
    "Arithmetic",
    "ClosedError",
    "Config",
    "InvalidFileError",
    "Layer",
    "Model",
    "Path",
    "QuantizedTensor",
    "ReaderError",
    "ReaderMemoryError",
    "ReaderSystemError",
    "Rope",
    "RopeScaling",
    "Sampler",
    "Session",
    "Span",
    "Stage",
    "Storage",
    "Tokenizer",
    "UnknownTensorError",
    "Walk",
    "__version__",
    "best_path",
    "generate",
    "open",
    "paths",
]


def open(  # noqa: A001  # named like gzip.open
    path: str | os.PathLike[str], *, check_digests: bool = False, mapped: bool | None = None
) -> Model:
    """Check and load a .bin file of any format.

    Args:
        path: the file.
        check_digests: compare the tensors of a v3 file with their digests, too; its head always is.
        mapped: by default, a file of up to half of the machine's memory is copied, so that a later change to it
            neither ends this process nor changes what was checked; a larger one is mapped.

    Returns:
        The open model. Use it as a context manager.

    Raises:
        InvalidFileError: the file is at fault; the error has field, offset, expected and found.
        ReaderSystemError: the file cannot be opened.
    """
    return Model(path, check_digests=check_digests, mapped=mapped)


def __getattr__(name: str) -> str:
    """Look the version up where somebody asks for it."""
    if name == "__version__":
        return metadata.version("export-and-verify")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
