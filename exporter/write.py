"""export(): one file, written tensor by tensor, that appears under its name whole or not at all."""

from __future__ import annotations

import dataclasses
import hashlib
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

from exporter.checkpoint import Checkpoint, Weights
from exporter.config import ModelConfig
from exporter.errors import FormatError
from exporter.formats.layout import QUANTIZED_FORMATS, Layout, Part, check_expressible, choose_group_size, lay_out
from exporter.place import appearing, resolve_target
from exporter.quantize import not_finite, quantize_q80
from exporter.rope import rope_tables

Progress = Callable[[int, int], None]

# Elements looked at together when a tensor is checked for NaN and infinity.
_BLOCK = 1 << 22


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
    """What export() did. group_size is the one in the file, 0 in fp32 formats; requested_group_size was asked for."""

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
    max_seq_len: int | None = None,
    overwrite: bool = False,
    progress: Progress | None = None,
) -> ExportSummary:
    """Write checkpoint to out as "v0", "v1", "v1-fp32" or "v2", or as "hf": a directory for transformers.

    group_size backs off to the largest that divides every in_features, unless exact_group_size is set.
    max_seq_len may shorten the model's own. progress is called with (bytes done, bytes in all).
    Raises CheckpointError, FormatError, WeightError or WriteError; then nothing on disk has changed.
    """
    start = time.monotonic()
    config = _shortened(checkpoint.config, max_seq_len)
    if format == "hf":
        # imported late: it is made of this module's parts
        from exporter.formats.huggingface import export_huggingface  # noqa: PLC0415

        hf = export_huggingface(checkpoint, config, Path(out), overwrite=overwrite, progress=progress)
        seconds = time.monotonic() - start
        return ExportSummary(Path(out), format, hf.bytes, hf.sha256, seconds, 0, group_size, hf.tensors)
    check_expressible(config, format)
    used = choose_group_size(config, group_size, exact=exact_group_size) if format in QUANTIZED_FORMATS else 0
    layout = lay_out(config, format, used)
    target = resolve_target(Path(out), overwrite=overwrite)
    checkpoint.refuse_as_target(target)
    with appearing(target, overwrite=overwrite) as file:
        tensors = tuple(_write_payload(file, checkpoint, config, layout, used, progress))
        file.flush()
        file.seek(0)
        digest = hashlib.file_digest(file, "sha256").hexdigest()  # type: ignore[arg-type]  # a file opened "xb+"
    return ExportSummary(Path(out), format, layout.size, digest, time.monotonic() - start, used, group_size, tensors)


def _shortened(config: ModelConfig, max_seq_len: int | None) -> ModelConfig:
    if max_seq_len is None:
        return config
    if not 1 <= max_seq_len <= config.max_seq_len:
        raise FormatError(f"max_seq_len: expected 1 to the model's own {config.max_seq_len}, found {max_seq_len}")
    return dataclasses.replace(config, max_seq_len=max_seq_len)


# ---- the payload ----


def _write_payload(
    file: BinaryIO,
    checkpoint: Checkpoint,
    config: ModelConfig,
    layout: Layout,
    group_size: int,
    progress: Progress | None,
) -> Iterator[TensorSummary]:
    places: dict[str, list[Part]] = {}
    for part in layout.parts:
        places.setdefault(part.tensor, []).append(part)
    file.truncate(layout.size)
    file.write(layout.header)
    done = len(layout.header)
    for name, parts in places.items():
        summary = _write_tensor(file, checkpoint, config, name, parts, group_size)
        done += summary.bytes
        if progress:
            progress(done, layout.size)
        yield summary


def _write_tensor(
    file: BinaryIO, checkpoint: Checkpoint, config: ModelConfig, name: str, parts: list[Part], group_size: int
) -> TensorSummary:
    """Load one tensor, write its parts where the layout has them, and let it go."""
    if name in ("freqs_cos", "freqs_sin"):
        tables = rope_tables(config.max_seq_len, config.head_dim, config.rope_theta)
        weights = tables[name == "freqs_sin"]
    else:
        weights = checkpoint.load(name)
        _check_finite(weights, f"{checkpoint.where}: {name}")
    error = bound = 0.0
    arrays: dict[str, NDArray[np.generic]] = {"fp32": weights}
    if parts[0].part != "fp32":
        quantized = quantize_q80(weights, group_size)
        arrays = {"int8": quantized.q, "scale": quantized.scale}
        error, bound = quantized.max_error, quantized.max_bound
    for part in parts:
        _write_at(file, part, arrays[part.part])
    storage = "fp32" if parts[0].part == "fp32" else "q8_0"
    return TensorSummary(name, parts[0].shape, storage, sum(p.nbytes for p in parts), error, bound)


def _write_at(file: BinaryIO, part: Part, array: NDArray[np.generic]) -> None:
    array = np.ascontiguousarray(array, np.int8 if part.part == "int8" else np.dtype("<f4"))
    if array.shape != part.shape or array.nbytes != part.nbytes:
        raise FormatError(f"{part.tensor}: expected {part.shape}, {part.nbytes} bytes, found {array.shape}")
    file.seek(part.offset)
    file.write(array.data)


def _check_finite(weights: Weights, where: str) -> None:
    flat = weights.reshape(-1)
    for start in range(0, flat.size, _BLOCK):
        if not np.isfinite(flat[start : start + _BLOCK]).all():
            raise not_finite(weights, where)
