"""export(): check the options, choose how to store the model, and write it whole or not at all."""

from __future__ import annotations

import dataclasses
import hashlib
import os
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import BinaryIO

from exporter.bin_file import write_ajc1, write_legacy, write_v3
from exporter.checkpoint import Checkpoint
from exporter.config import ModelConfig, without_idle_window
from exporter.disk.atomic import atomic_file
from exporter.disk.target import resolve_target
from exporter.errors import FormatError
from exporter.formats import ajc1, v3
from exporter.formats.huggingface import export_huggingface
from exporter.formats.layout import (
    LEGACY_FORMATS,
    QUANTIZED_FORMATS,
    check_expressible,
    check_group_size,
    choose_group_size,
)
from exporter.formats.v3_storage import choose_storage
from exporter.memory_plan import plan_memory
from exporter.payload import PayloadWriter
from exporter.provenance import Provenance
from exporter.sources import open_checkpoint
from exporter.summary import ExportSummary, Progress, TensorSummary
from exporter.tokenizers.embed import tokenizer_block as embedded

# The payload's share of an export's progress.
_PAYLOAD = 0.8
# Bytes read at a time for the digest.
_BLOCK = 1 << 20

FORMATS = (*LEGACY_FORMATS, "v3", "ajc1", "hf")


def export(
    checkpoint: Checkpoint | str | os.PathLike[str],
    out: str | os.PathLike[str],
    *,
    format: str,  # noqa: A002  # the word of the public interface
    group_size: int = 64,
    exact_group_size: bool = False,
    storage: str | Mapping[str, str] = "source",
    provenance: bool = True,
    tokenizer_block: bool | None = None,
    max_seq_len: int | None = None,
    overwrite: bool = False,
    memory: int | None = None,
    announce: Callable[[str], None] | None = None,
    progress: Progress | None = None,
) -> ExportSummary:
    """Write a checkpoint as a .bin file, or as a directory for transformers.

    Args:
        checkpoint: a path or hub id, or an open Checkpoint, which may say more about the source.
        out: the path of the file or directory, which appears complete or not at all.
        format: one of FORMATS: "hf" is a directory, all others are files; "ajc1" is qwen3.c's.
        group_size: the largest of Q8_0's groups; "ajc1" halves it until it divides in_features, others use a divisor.
        exact_group_size: refuse a smaller one.
        storage: of v3: "source" (its own type, without loss), "fp32", "fp16", "bf16" or "q8_0", or a mapping of name
            patterns to these, of which the last match counts.
        provenance: write the digests of the source's files into a v3 file.
        tokenizer_block: of v3: False omits the tokenizer, and so does None, with a note, if no block can hold it.
        max_seq_len, overwrite: a shorter length than the model's; replace an existing file.
        memory: the most bytes that this process may take.
        announce, progress: receives the predicted memory as a line; (bytes done, bytes in all).

    Returns:
        What was written: path, size, digest, and the error and bound of every tensor.

    Raises:
        ExportError: CheckpointError, FormatError, WeightError, WriteError, or itself where memory is too small.
            Nothing on disk has changed then, unless the message says what was written.
    """
    start = time.monotonic()
    _check_options(format, storage, group_size, tokenizer_block)
    if not isinstance(checkpoint, Checkpoint):
        checkpoint = open_checkpoint(checkpoint, max_seq_len=max_seq_len)
    config = _for_format(_shortened(checkpoint.config, max_seq_len), format)
    held = plan_memory(checkpoint, memory)
    if announce:
        announce(held.describe())
    if format == "hf":
        hf = export_huggingface(checkpoint, config, Path(out), overwrite=overwrite, progress=progress)
        return ExportSummary(Path(out), format, hf.bytes, hf.sha256, _since(start), 0, group_size, hf.tensors)
    target = resolve_target(Path(out), overwrite=overwrite)
    checkpoint.refuse_as_target(target)
    block, notes = embedded(checkpoint, config.vocab_size, tokenizer_block) if format == "v3" else (b"", ())
    plan = _plan(checkpoint, config, format, (group_size, exact_group_size), storage, block, provenance=provenance)
    with atomic_file(target, overwrite=overwrite) as file:
        tensors = plan.write(file, PayloadWriter(checkpoint, progress and partial(_share_of, progress), held.at_once))
        size, digest = _finish(file, progress)
        # last, so that a source that changes while the file is hashed is refused, too
        checkpoint.refuse_changed()
    return ExportSummary(Path(out), format, size, digest, _since(start), plan.group_size, group_size, tensors, notes)


def _since(start: float) -> float:
    return time.monotonic() - start


@dataclasses.dataclass(frozen=True)
class _Plan:
    """How a file will be written. group_size: the smallest in the file, 0 where no tensor is Q8_0."""

    group_size: int
    write: Callable[[BinaryIO, PayloadWriter], tuple[TensorSummary, ...]]


def _plan(
    checkpoint: Checkpoint,
    config: ModelConfig,
    format_name: str,
    group_size: tuple[int, bool],
    storage: str | Mapping[str, str],
    block: bytes,
    *,
    provenance: bool,
) -> _Plan:
    """Choose groups and storage. group_size: the requested one, and whether a smaller one is refused.

    Raises FormatError.
    """
    requested, exact = group_size
    if format_name == "ajc1":
        ajc1.check_expressible(config)
        used = ajc1.choose_group_size(config, requested, exact=exact)
        return _Plan(used, partial(write_ajc1, config=config, group_size=used))
    if format_name != "v3":
        used = _legacy_group_size(config, format_name, requested, exact=exact)
        return _Plan(used, partial(write_legacy, config=config, format_name=format_name, group_size=used))
    stored = choose_storage(checkpoint, storage, requested, exact=exact)
    used = min((how.group_size for how in stored.values() if how.group_size), default=0)
    source = checkpoint if provenance else None
    return _Plan(used, partial(_write_v3, plan=partial(v3.plan, config, stored, tokenizer=block), source=source))


def _check_options(
    format_name: str, storage: str | Mapping[str, str], group_size: int, tokenizer_block: bool | None
) -> None:
    """Raise FormatError for options that no source can make right, before the source is opened."""
    if format_name not in FORMATS:
        raise FormatError(f"format: expected one of {', '.join(FORMATS)}, found {format_name!r}")
    if format_name != "v3" and storage != "source":
        raise FormatError(
            f"storage: expected none for {format_name}, which fixes its own, found {storage!r}: give --format v3"
        )
    if format_name != "v3" and tokenizer_block:
        raise FormatError(
            f"tokenizer_block: expected none for {format_name}, which has no such block: give --format v3"
        )
    check_group_size(group_size)


def _shortened(config: ModelConfig, max_seq_len: int | None) -> ModelConfig:
    if max_seq_len is None:
        return config
    if not 1 <= max_seq_len <= config.max_seq_len:
        raise FormatError(f"max_seq_len: expected 1 to the model's own {config.max_seq_len}, found {max_seq_len}")
    return without_idle_window(dataclasses.replace(config, max_seq_len=max_seq_len))


def _for_format(config: ModelConfig, format_name: str) -> ModelConfig:
    """Return the config that a format states: only v3 has a place for a window that no sequence leaves."""
    return config if format_name == "v3" else without_idle_window(config)


def _legacy_group_size(config: ModelConfig, format_name: str, requested: int, *, exact: bool) -> int:
    """Return the group size of a v0 to v2 file, 0 where the format is not quantized. Raises FormatError."""
    check_expressible(config, format_name)
    if format_name not in QUANTIZED_FORMATS:
        return 0
    return choose_group_size({"dim": config.dim, "hidden_dim": config.hidden_dim}, requested, exact=exact)


def _write_v3(
    file: BinaryIO, payload: PayloadWriter, plan: Callable[[Mapping[str, str]], v3.Plan], source: Checkpoint | None
) -> tuple[TensorSummary, ...]:
    """Write a v3 file, with the provenance of source as its metadata unless source is None."""
    if source is None:
        return write_v3(file, payload, plan({}), dict)
    with Provenance(source) as provenance:
        return write_v3(file, payload, plan(provenance.placeholder()), provenance.metadata)


def _share_of(progress: Progress, done: int, total: int) -> None:
    """Report the payload as the first part of an export; reading it again for its digest is the rest."""
    progress(int(done * _PAYLOAD), total)


def _finish(file: BinaryIO, progress: Progress | None) -> tuple[int, str]:
    """Return (size, sha256) of a complete file, synced to disk while its digest is computed."""
    size, digest = os.fstat(file.fileno()).st_size, hashlib.sha256()
    with ThreadPoolExecutor(1) as pool:
        synced = pool.submit(os.fsync, file.fileno())
        file.seek(0)
        while block := file.read(_BLOCK):
            digest.update(block)
            if progress:
                hashed = file.tell() / size
                progress(size if hashed == 1 else int(size * (_PAYLOAD + (1 - _PAYLOAD) * hashed)), size)
        synced.result()
    return size, digest.hexdigest()
