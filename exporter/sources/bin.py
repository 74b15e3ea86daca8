"""llama2.c's own .bin files and qwen3.c's as a source: float32 bit for bit, Q8_0 as the numbers that it stands for.

Those of llama2.c mean RoPE's theta 10000, a norm_eps of 1e-5 and heads of dim / n_heads, those of qwen3.c its own
constants: they have no field for others.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from exporter.checkpoint import Checkpoint, Weights
from exporter.config import tensor_shapes
from exporter.errors import CheckpointError
from exporter.file_identity import identity, refuse_changed
from exporter.formats.layout import HEADER_BYTES, MAGIC, Part
from exporter.formats.rope_tables import TABLES
from exporter.rope_pairs import in_pairs, index_in_halves
from exporter.sources.ajc1_header import is_ajc1, read_ajc1_header
from exporter.sources.bin_header import BinFile, read_header
from exporter.sources.buffers import check_table
from exporter.sources.source_files import check_named_file, first_bytes
from exporter.sources.tokenizers import tokenizer_in

_DTYPES = {"fp32": "<f4", "int8": "i1", "scale": "<f4"}


def open_bin(path: Path) -> Checkpoint:
    """Check the header, the size and v0's RoPE tables; no weight is read yet. Raises CheckpointError."""
    check_named_file(path)
    opened = identity(path)
    start = first_bytes(path, HEADER_BYTES)
    if is_ajc1(start):
        found = read_ajc1_header(str(path), start, opened[2])
    else:
        found = read_header(str(path), start, opened[2], v0=int.from_bytes(start[:4], "little") != MAGIC)
    parts: dict[str, list[Part]] = {}
    for part in found.layout.parts:
        parts.setdefault(part.tensor, []).append(part)
    notes = []
    for name in TABLES:
        if name in parts:
            _check_own_table(path, name, parts[name][0], found)
    if found.group_size:
        notes.append(
            f"the source is itself quantized (Q8_0, groups of {found.group_size}): its weights are q * scale"
        )
    shapes = tensor_shapes(found.config)

    def load(name: str) -> Weights:
        refuse_changed(path, opened)
        weights = _decode(path, parts[name], found)
        refuse_changed(path, opened)
        return in_pairs(name, weights, found.config) if found.format == "ajc1" else weights

    def locate(name: str, index: tuple[int, ...]) -> tuple[str, tuple[int, ...]]:
        there = index_in_halves(name, index, found.config) if found.format == "ajc1" else index
        return f"{path}: {name}", there

    return Checkpoint(
        found.config,
        shapes,
        load,
        where=str(path),
        kind="bin",
        files=(path,),
        opened={path: opened},
        tokenizer=tokenizer_in(path.parent),
        notes=tuple(notes),
        locate=locate,
    )


def _check_own_table(path: Path, name: str, part: Part, found: BinFile) -> None:
    check_table(f"{path}: {name}", name, part.shape, lambda rows: _rows(path, part, rows), found.config)


def _decode(path: Path, parts: list[Part], found: BinFile) -> Weights:
    first = _read(path, parts[0], 0, parts[0].nbytes)
    if len(parts) == 1:
        return np.asarray(first, np.float32).reshape(parts[0].shape)
    scale = _read(path, parts[1], 0, parts[1].nbytes)
    groups = first.reshape(-1, found.group_size).astype(np.float32)
    groups *= scale.reshape(-1, 1)
    return groups.reshape(parts[0].shape)


def _rows(path: Path, part: Part, rows: range) -> NDArray[np.float32]:
    width = 4 * part.shape[1]
    found: NDArray[np.float32] = _read(path, part, rows.start * width, len(rows) * width)
    return found.reshape(len(rows), part.shape[1])


def _read(path: Path, part: Part, start: int, nbytes: int) -> NDArray[np.float32]:
    dtype = np.dtype(_DTYPES[part.part])
    count = nbytes // dtype.itemsize
    try:
        found = np.fromfile(path, dtype, count, offset=part.offset + start)
    except OSError as error:
        raise CheckpointError(f"{path}: {(error.strerror or str(error)).lower()}") from error
    if found.size != count:
        raise CheckpointError(f"{path}: {part.tensor}: expected {count} numbers, found {found.size}: it was cut")
    return found
