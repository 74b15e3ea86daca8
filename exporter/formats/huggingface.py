"""Write a directory that transformers loads: config.json and safetensors, tensor by tensor.

q and k get the row order of Hugging Face, whose RoPE rotates row i of a head with row i + head_dim / 2.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from exporter.checkpoint import Checkpoint, Dtype, Weights
from exporter.companions import copy_companion
from exporter.config import ModelConfig
from exporter.disk.atomic import atomic_directory
from exporter.disk.target import resolve_directory_target
from exporter.errors import WeightError
from exporter.formats.huggingface_files import NUMPY_DTYPES, Part, plan_files
from exporter.rope_pairs import in_halves
from exporter.summary import Progress, TensorSummary

# Elements narrowed, checked and written together: few beside a tensor.
_BLOCK = 1 << 20


@dataclass(frozen=True)
class HuggingFaceSummary:
    """What was written. bytes: of all files together. digests: file name to SHA-256.

    sha256: of the text that has "digest  name\\n" for each file, sorted by name; in the directory,
    LC_ALL=C sha256sum * | sha256sum
    """

    bytes: int
    sha256: str
    digests: dict[str, str]
    tensors: tuple[TensorSummary, ...]


def export_huggingface(
    checkpoint: Checkpoint,
    config: ModelConfig,
    out: Path,
    *,
    overwrite: bool,
    progress: Progress | None,
    shard_bytes: int = 5 * 10**9,
) -> HuggingFaceSummary:
    """Write the directory out, each tensor in its source's type, in several files above shard_bytes.

    The tokenizer and generation_config.json of a Hugging Face source are carried along (see Companions).
    config: the checkpoint's, or the same with a shorter max_seq_len. progress: receives (bytes done, bytes in all).
    Raises CheckpointError, FormatError, WeightError or WriteError; nothing on disk has changed then, unless the
    message says what was written.
    """
    companions = checkpoint.companions()
    files = plan_files(checkpoint, config, shard_bytes, companions.token_ids)
    target = resolve_directory_target(out, overwrite=overwrite)
    checkpoint.refuse_as_directory(target)
    total = sum(file.bytes for file in files) + companions.bytes
    done = 0
    digests: dict[str, str] = {}
    summaries: dict[str, TensorSummary] = {}
    with atomic_directory(target, overwrite=overwrite) as directory:
        for planned in files:
            with (directory / planned.name).open("xb") as file:
                digest = hashlib.sha256(planned.head)
                file.write(planned.head)
                done += len(planned.head)
                for tensor in planned.tensors:
                    for part in tensor.parts:
                        summaries[part.name] = _write_part(file, digest, checkpoint, config, part, tensor.dtype)
                    done += tensor.bytes
                    if progress:
                        progress(done, total)
                file.flush()
                os.fsync(file.fileno())
            digests[planned.name] = digest.hexdigest()
        for path, opened in companions.files.items():
            digests[path.name] = copy_companion(path, opened, directory / path.name)
            done += opened[2]
            if progress:
                progress(done, total)
        checkpoint.refuse_changed()
    lines = "".join(f"{digests[name]}  {name}\n" for name in sorted(digests))
    combined = hashlib.sha256(lines.encode()).hexdigest()
    return HuggingFaceSummary(total, combined, digests, tuple(summaries[name] for name in checkpoint.names))


def _write_part(
    file: BinaryIO, digest: hashlib._Hash, checkpoint: Checkpoint, config: ModelConfig, part: Part, dtype: Dtype
) -> TensorSummary:
    """Load and write one tensor, in a function so that the last block, a view of the tensor, ends with it."""
    for block in _stored_blocks(checkpoint, config, part, dtype):
        digest.update(block)
        file.write(block)
    stored_bytes = prod(part.shape) * NUMPY_DTYPES[dtype].itemsize
    return TensorSummary(part.name, part.shape, dtype, stored_bytes, max_abs_error=0.0, bound=0.0)


def _stored_blocks(checkpoint: Checkpoint, config: ModelConfig, part: Part, dtype: Dtype) -> Iterator[memoryview]:
    """Yield one tensor's bytes in order, block by block. Raises WeightError for one that its type cannot hold."""
    weights = checkpoint.load(part.name)
    where = f"{checkpoint.where}: {part.name}"
    stored = NUMPY_DTYPES[dtype]
    rows = in_halves(part.name, weights, config) if part.halves else weights
    step = max(1, _BLOCK // max(1, prod(rows.shape[1:])))
    for start in range(0, len(rows), step):
        block = np.ascontiguousarray(rows[start : start + step])
        if not np.isfinite(block).all():
            raise checkpoint.not_finite(part.name, weights)
        narrow = _narrowed(block, stored)
        if narrow is None:
            raise _not_exact(weights, stored, where)
        # the file is little-endian on every machine
        little = narrow.view(f"u{stored.itemsize}").astype(f"<u{stored.itemsize}", copy=False)
        yield little.reshape(-1).view(np.uint8).data


def _narrowed(block: NDArray[np.float32], stored: np.dtype[Any]) -> NDArray[Any] | None:
    """Return block in the stored type, or None where that would change a bit of it."""
    with np.errstate(all="ignore"):
        narrow = block.astype(stored, copy=False)
        same = np.array_equal(narrow.astype(np.float32, copy=False).view(np.uint32), block.view(np.uint32))
    return narrow if same else None


def _not_exact(weights: Weights, stored: np.dtype[Any], where: str) -> WeightError:
    with np.errstate(all="ignore"):
        differs = weights.astype(stored).astype(np.float32) != weights
    index = tuple(int(i) for i in np.unravel_index(int(differs.argmax()), weights.shape))
    return WeightError(
        f"{where}: {list(index)}: expected a weight that {stored.name}, the source's type, holds exactly, "
        f"found {weights[index]}",
        index,
    )
