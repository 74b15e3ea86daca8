"""export(): one file, written several tensors at a time, that appears under its name whole or not at all."""

from __future__ import annotations

import dataclasses
import hashlib
import os
import sys
import time
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from math import prod
from pathlib import Path
from typing import BinaryIO

import numpy as np
from blake3 import blake3
from numpy.typing import NDArray

from exporter.checkpoint import Checkpoint, Weights
from exporter.config import ModelConfig
from exporter.encode import encode
from exporter.errors import FormatError
from exporter.formats import v3
from exporter.formats.layout import (
    LEGACY_FORMATS,
    QUANTIZED_FORMATS,
    Part,
    check_expressible,
    check_group_size,
    choose_group_size,
    lay_out,
)
from exporter.memory import room_for
from exporter.parallel import in_parallel
from exporter.place import appearing, resolve_target
from exporter.provenance import Provenance
from exporter.rope import TABLES, rope_table
from exporter.storage import choose_storage

FORMATS = (*LEGACY_FORMATS, "v3", "hf")

Progress = Callable[[int, int], None]

# Elements looked at together when a tensor is checked for NaN and infinity.
_BLOCK = 1 << 22
# Of RoPE's tables, made at a time: they are as long as the model, and no tensor of the source's.
_TABLE_BLOCK = 1 << 18


@dataclasses.dataclass(frozen=True)
class TensorSummary:
    """What became of one tensor. max_abs_error is |w - stored| exactly; bound is what Q8_0 may cost it."""

    name: str
    shape: tuple[int, ...]
    storage: str
    bytes: int
    max_abs_error: float
    bound: float


@dataclasses.dataclass(frozen=True)
class ExportSummary:
    """What export() did. group_size is the (smallest) one in the file, 0 where nothing is Q8_0; requested_group_size
    was asked for."""

    path: Path
    format: str
    bytes: int
    sha256: str
    seconds: float
    group_size: int
    requested_group_size: int
    tensors: tuple[TensorSummary, ...]


def export(
    checkpoint: Checkpoint,
    out: str | os.PathLike[str],
    *,
    format: str,  # noqa: A002  # the word of the public interface
    group_size: int = 64,
    exact_group_size: bool = False,
    storage: str | Mapping[str, str] = "source",
    provenance: bool = True,
    max_seq_len: int | None = None,
    overwrite: bool = False,
    memory: int | None = None,
    announce: Callable[[str], None] | None = None,
    progress: Progress | None = None,
) -> ExportSummary:
    """Write checkpoint to out as "v0", "v1", "v1-fp32", "v2" or "v3", or as "hf": a directory for transformers.

    group_size backs off to the largest that divides every in_features (in v3: the tensor's own), unless
    exact_group_size is set. storage, of v3: "source" (as in the source, without loss), "fp32", "fp16", "bf16" or
    "q8_0", or a mapping of name patterns to these, of which the last that matches counts. provenance, of v3: write
    the digests of the source's files into the file; without them the same weights give the same bytes whatever the
    source. max_seq_len may shorten the model's own. memory: most bytes to take; announce: is told what is predicted.
    progress is called with (bytes done, bytes in all).
    Raises ExportError where memory is too little, CheckpointError, FormatError, WeightError or WriteError; then
    nothing on disk has changed, but where the message says what has been written.
    """
    start = time.monotonic()
    if format not in FORMATS:
        raise FormatError(f"format: expected one of {', '.join(FORMATS)}, found {format!r}")
    if format != "v3" and storage != "source":
        raise FormatError(f"storage: expected none for {format}, which has its own, found {storage!r}")
    check_group_size(group_size)
    config = _shortened(checkpoint.config, max_seq_len)
    room = room_for(checkpoint, memory)
    if announce:
        announce(room.describe())
    if format == "hf":
        # imported late: it is made of this module's parts
        from exporter.formats.huggingface import export_huggingface  # noqa: PLC0415

        hf = export_huggingface(checkpoint, config, Path(out), overwrite=overwrite, progress=progress)
        seconds = time.monotonic() - start
        return ExportSummary(Path(out), format, hf.bytes, hf.sha256, seconds, 0, group_size, hf.tensors)
    target = resolve_target(Path(out), overwrite=overwrite)
    checkpoint.refuse_as_target(target)
    writer = _Writer(checkpoint, config, progress, room.at_once)
    if format == "v3":
        stored = choose_storage(checkpoint, storage, group_size, exact=exact_group_size)
        used = min((how.group_size for how in stored.values() if how.group_size), default=0)
        with appearing(target, overwrite=overwrite) as file:
            tensors = writer.write_v3(file, stored, provenance=provenance)
            checkpoint.refuse_changed()
            size, digest = _finish(file)
    else:
        check_expressible(config, format)
        widths = {"dim": config.dim, "hidden_dim": config.hidden_dim}
        quantized = format in QUANTIZED_FORMATS
        used = choose_group_size(widths, group_size, exact=exact_group_size) if quantized else 0
        with appearing(target, overwrite=overwrite) as file:
            tensors = writer.write_legacy(file, format, used)
            checkpoint.refuse_changed()
            size, digest = _finish(file)
    return ExportSummary(Path(out), format, size, digest, time.monotonic() - start, used, group_size, tensors)


def _finish(file: BinaryIO) -> tuple[int, str]:
    """(size, sha256) of a file that is complete. The disk takes it meanwhile."""
    with ThreadPoolExecutor(1) as pool:
        synced = pool.submit(os.fsync, file.fileno())
        file.seek(0)
        digest = hashlib.file_digest(file, "sha256").hexdigest()  # type: ignore[arg-type]  # opened "xb+"
        synced.result()
    return os.fstat(file.fileno()).st_size, digest


def _shortened(config: ModelConfig, max_seq_len: int | None) -> ModelConfig:
    if max_seq_len is None:
        return config
    if not 1 <= max_seq_len <= config.max_seq_len:
        raise FormatError(f"max_seq_len: expected 1 to the model's own {config.max_seq_len}, found {max_seq_len}")
    return dataclasses.replace(config, max_seq_len=max_seq_len)


# ---- the payload ----


class _Writer:
    """Each tensor: loaded, encoded, written where its parts belong, and let go; several at a time."""

    def __init__(
        self, checkpoint: Checkpoint, config: ModelConfig, progress: Progress | None, at_once: int = 0
    ) -> None:
        self._checkpoint, self._config, self._at_once, self._progress = checkpoint, config, at_once, progress

    def write_legacy(self, file: BinaryIO, format_name: str, group_size: int) -> tuple[TensorSummary, ...]:
        layout = lay_out(self._config, format_name, group_size)
        file.truncate(layout.size)
        _write_all(file, memoryview(layout.header), 0)
        stored = {
            part.tensor: v3.Stored("fp32") if part.part == "fp32" else v3.Stored("q8_0", group_size)
            for part in layout.parts
        }
        return self._write_payload(file, layout.parts, stored, layout.size)

    def write_v3(
        self, file: BinaryIO, stored: Mapping[str, v3.Stored], *, provenance: bool
    ) -> tuple[TensorSummary, ...]:
        if not provenance:
            return self._write_v3(file, v3.plan(self._config, stored, {}), dict)
        with Provenance(self._checkpoint) as source:
            return self._write_v3(file, v3.plan(self._config, stored, source.placeholder()), source.metadata)

    def _write_v3(
        self, file: BinaryIO, plan: v3.Plan, metadata: Callable[[], dict[str, str]]
    ) -> tuple[TensorSummary, ...]:
        """The payload first, then the head, which has its digests."""
        entries = {entry.name: entry for entry in plan.entries}
        digests: dict[str, bytes] = {}

        def digest(name: str, arrays: list[NDArray[np.generic]]) -> None:
            digests[name] = _digest(entries[name], arrays)

        stored = {name: entry.stored for name, entry in entries.items()}
        file.truncate(plan.size)
        summaries = self._write_payload(file, plan.parts(), stored, plan.size, digest)
        plan = dataclasses.replace(plan, metadata=v3.encode_metadata(metadata()))
        _write_all(file, memoryview(v3.encode_head(plan, [digests[name] for name in entries])), 0)
        return summaries

    def _write_payload(
        self,
        file: BinaryIO,
        parts: Iterable[Part],
        stored: Mapping[str, v3.Stored],
        size: int,
        written: Callable[[str, list[NDArray[np.generic]]], None] = lambda _name, _arrays: None,
    ) -> tuple[TensorSummary, ...]:
        """written is called with each tensor's name and its parts, on any thread, and must not keep them."""
        places: dict[str, list[Part]] = {}
        for part in parts:
            places.setdefault(part.tensor, []).append(part)
        done = size - sum(part.nbytes for own in places.values() for part in own)

        def write(name: str) -> TensorSummary:
            """A function of its own, so that nothing of a tensor is left when the next one is loaded."""
            own, how = places[name], stored[name]
            nbytes = sum(part.nbytes for part in own)
            if name in TABLES:
                self._write_table(file, own[0])
                return TensorSummary(name, own[0].shape, how.storage, nbytes, 0.0, 0.0)
            weights = self._load(name)
            encoded = encode(weights, how.storage, how.group_size, f"{self._checkpoint.where}: {name}")
            written(name, [_write_at(file, part, encoded.parts[part.part]) for part in own])
            return TensorSummary(name, own[0].shape, how.storage, nbytes, encoded.max_error, encoded.bound)

        def finished(summary: TensorSummary) -> None:
            nonlocal done
            done += summary.bytes
            if self._progress:
                self._progress(done, size)

        def under_way(name: str) -> int:
            return min(prod(places[name][0].shape), _TABLE_BLOCK if name in TABLES else sys.maxsize)

        return tuple(in_parallel(write, list(places), under_way, self._at_once, finished))

    def _write_table(self, file: BinaryIO, part: Part) -> None:
        length, width = part.shape
        step = max(1, _TABLE_BLOCK // width)
        for first in range(0, length, step):
            positions = range(first, min(first + step, length))
            rows = rope_table(part.tensor, positions, self._config.head_dim, self._config.rope_theta)
            _write_all(file, rows.astype("<f4", copy=False).data.cast("B"), part.offset + first * width * 4)

    def _load(self, name: str) -> Weights:
        weights = self._checkpoint.load(name)
        _check_finite(weights, self._checkpoint, name)
        return weights


_PART_DTYPES = {"fp32": "<f4", "fp16": "<f2", "bf16": "<u2", "int8": "i1", "scale": "<f4"}


def _write_at(file: BinaryIO, part: Part, array: NDArray[np.generic]) -> NDArray[np.generic]:
    """The array as it was written."""
    array = np.ascontiguousarray(array, np.dtype(_PART_DTYPES[part.part]))
    if array.shape != part.shape or array.nbytes != part.nbytes:
        raise FormatError(f"{part.tensor}: expected {part.shape}, {part.nbytes} bytes, found {array.shape}")
    _write_all(file, array.data.cast("B"), part.offset)
    return array


def _write_all(file: BinaryIO, content: memoryview, offset: int) -> None:
    """At an offset of the file itself, past its buffer, so that threads may write side by side."""
    while content:
        count = os.pwrite(file.fileno(), content, offset)
        content, offset = content[count:], offset + count


def _digest(entry: v3.Entry, arrays: list[NDArray[np.generic]]) -> bytes:
    """BLAKE3 of a tensor's extent, padding included."""
    state = blake3(max_threads=blake3.AUTO)
    at = entry.offset
    for array, offset in zip(arrays, (entry.offset, entry.scale_offset), strict=False):
        state.update(bytes(offset - at))
        state.update(array.data.cast("B"))
        at = offset + array.nbytes
    state.update(bytes(entry.offset + entry.extent - at))
    return state.digest()


def _check_finite(weights: Weights, checkpoint: Checkpoint, name: str) -> None:
    flat = weights.reshape(-1)
    for start in range(0, flat.size, _BLOCK):
        if not np.isfinite(flat[start : start + _BLOCK]).all():
            raise checkpoint.not_finite(name, weights)
