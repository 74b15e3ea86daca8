"""A v3 file as a source: what was stored without loss comes back bit for bit, Q8_0 as the numbers it stands for."""

from __future__ import annotations

import os
from pathlib import Path
from typing import BinaryIO

import numpy as np

from exporter.checkpoint import Checkpoint, Dtype, Weights
from exporter.errors import CheckpointError
from exporter.file_identity import identity, refuse_changed
from exporter.formats import v3
from exporter.formats.v3_fields import V3Error
from exporter.formats.v3_parse import Head, Parser, check_digest
from exporter.rope_scaling import MOST_FACTORS

_DTYPES: dict[str, Dtype] = {"fp32": "fp32", "fp16": "fp16", "bf16": "bf16", "q8_0": "fp32"}


def open_v3(path: Path) -> Checkpoint:
    """Check the whole head; tensors are held against their digests when they are loaded. Raises CheckpointError."""
    opened = identity(path)
    head = read_head(path)
    entries = {entry.name: (entry, head.digests[number]) for number, entry in enumerate(head.plan.entries)}
    numbers = {name: number for number, name in enumerate(entries)}
    config = head.plan.config
    table = v3.table_at(config.n_layers, len(config.rope_scaling.short_factors))

    def load(name: str) -> Weights:
        refuse_changed(path, opened)
        entry, digest = entries[name]
        with path.open("rb") as file:
            file.seek(head.plan.head_size + entry.offset)
            content = file.read(entry.extent)
        check_digest(str(path), f"{name}:", content, digest, table + numbers[name] * v3.ENTRY.size + 160)
        return decode(entry, content)

    return Checkpoint(
        config,
        {name: entry.shape for name, (entry, _) in entries.items()},
        load,
        where=str(path),
        kind="v3",
        files=(path,),
        opened={path: opened},
        dtypes={name: _DTYPES[entry.stored.storage] for name, (entry, _) in entries.items()},
        tokenizer_block=head.plan.tokenizer,
    )


def read_head(path: Path) -> Head:
    """The checked head of a v3 file, its seams between tensors included. Raises CheckpointError."""
    try:
        with path.open("rb") as file:
            size = os.fstat(file.fileno()).st_size
            fixed = file.read(v3.HEADER.size)
            most = v3.table_at(v3.MOST_TENSORS, MOST_FACTORS) + v3.MOST_TENSORS * v3.ENTRY.size
            most += v3.MOST_METADATA_BYTES + v3.MOST_TOKENIZER_BYTES + (1 << 13)
            claimed = int.from_bytes(fixed[136:144], "little")
            wanted = min(max(claimed, v3.LAYERS_AT), most, size)
            content = fixed + file.read(max(0, wanted - len(fixed)))
            head = Parser(str(path), content, size).parse()
            _check_seams(path, file, head)
    except OSError as error:
        raise CheckpointError(f"{path}: {(error.strerror or str(error)).lower()}") from error
    return head


def _check_seams(path: Path, file: BinaryIO, head: Head) -> None:
    """Zeros between values and scales, and between tensors."""
    for entry in head.plan.entries:
        ends = [(entry.offset + entry.length, entry.scale_offset or entry.offset + entry.extent)]
        if entry.scale_length:
            ends.append((entry.scale_offset + entry.scale_length, entry.offset + entry.extent))
        for start, stop in ends:
            file.seek(head.plan.head_size + start)
            padding = file.read(stop - start)
            if padding.strip(b"\0"):
                at = next(i for i, byte in enumerate(padding) if byte)
                raise V3Error(str(path), "padding", head.plan.head_size + start + at, 0, padding[at])


def decode(entry: v3.Entry, content: bytes) -> Weights:
    """A tensor's numbers from its extent: float32."""
    # views, so that only what is made of them is new
    whole = memoryview(content)
    values = whole[: entry.length]
    shape, storage = entry.shape, entry.stored.storage
    if storage == "fp32":
        return np.frombuffer(values, "<f4").reshape(shape)
    if storage == "fp16":
        return np.frombuffer(values, "<f2").astype(np.float32).reshape(shape)
    if storage == "bf16":
        bits = np.frombuffer(values, "<u2").astype("<u4")
        bits <<= 16
        return bits.view("<f4").reshape(shape)
    at = entry.scale_offset - entry.offset
    scale = np.frombuffer(whole[at : at + entry.scale_length], "<f4")
    groups = np.frombuffer(values, np.int8).reshape(-1, entry.stored.group_size).astype(np.float32)
    groups *= scale[:, None]
    return groups.reshape(shape)
