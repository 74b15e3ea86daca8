"""The header of qwen3.c's files, and the model that its reader computes from it."""

from __future__ import annotations

import struct
from typing import Any

from exporter.config import ModelConfig
from exporter.errors import CheckpointError
from exporter.formats import ajc1
from exporter.formats.layout import HEADER_BYTES
from exporter.sources.bin_header import FIELDS, BinFile, check_groups, whole_file

_FIELDS_END = 48
# What qwen3.c computes with, whatever the model is.
_IMPLIED: dict[str, Any] = {"norm_eps": 1e-6, "rope_theta": 1e6, "qk_norm": "head"}


def is_ajc1(start: bytes) -> bool:
    """Whether a file starts as qwen3.c's do."""
    return start[:4] == ajc1.MAGIC.to_bytes(4, "little")


def read_ajc1_header(where: str, start: bytes, size: int) -> BinFile:
    """start: at least the header's bytes. Raises CheckpointError where it and size do not agree."""
    if len(start) < HEADER_BYTES:
        raise CheckpointError(f"{where}: expected a header of {HEADER_BYTES} bytes, found a file of {size}")
    version, *numbers, flag, group = struct.unpack_from("<4xi10i", start)
    if version != ajc1.VERSION:
        raise CheckpointError(f"{where}: version: expected {ajc1.VERSION}, found {version}")
    if flag not in (0, 1):
        raise CheckpointError(f"{where}: shared_classifier: expected 0 or 1, found {flag}")
    if start[_FIELDS_END:HEADER_BYTES].strip(b"\0"):
        raise CheckpointError(f"{where}: expected zeros from byte {_FIELDS_END} to 256, found others")
    config = _config(where, dict(zip((*FIELDS, "head_dim"), numbers, strict=True)), tied=bool(flag))
    if group < 1:
        raise CheckpointError(f"{where}: group_size: expected a positive integer, found {group}")
    check_groups(where, config, group)
    return whole_file(where, "ajc1", config, group, size, lambda model: ajc1.lay_out(model, group))


def _config(where: str, counts: dict[str, Any], *, tied: bool) -> ModelConfig:
    # a ModelConfig takes 0 for dim / n_heads
    if counts["head_dim"] == 0:
        raise CheckpointError(f"{where}: head_dim: expected 1 to {2**31 - 1}, found 0")
    try:
        config = ModelConfig(**counts, tied=tied, **_IMPLIED)
    except CheckpointError as error:
        raise CheckpointError(f"{where}: {error}") from error
    if config.q_dim < config.dim:
        raise CheckpointError(
            f"{where}: n_heads * head_dim: expected at least dim = {config.dim}, found {config.q_dim}"
        )
    return config
