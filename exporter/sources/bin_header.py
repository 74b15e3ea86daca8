"""The headers of llama2.c's own .bin files: what seven integers say, and whether they can be v0's."""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import dataclass, replace

from exporter.config import ModelConfig, tensor_shapes
from exporter.errors import CheckpointError
from exporter.formats.layout import HEADER_BYTES, Layout, lay_out
from exporter.formats.v3 import MOST_TENSORS

FIELDS = ("dim", "hidden_dim", "n_layers", "n_heads", "n_kv_heads", "vocab_size", "max_seq_len")
_V0_BYTES = 28


@dataclass(frozen=True)
class BinFile:
    """A file whose size is what its header says. group_size: 0 where nothing is quantized."""

    format: str
    config: ModelConfig
    group_size: int
    layout: Layout


def is_v0(start: bytes, size: int) -> bool:
    """Whether a file of this size that starts so can be v0, which has no magic."""
    try:
        read_header("", start, size, v0=True)
    except CheckpointError:
        return False
    return True


def read_header(where: str, start: bytes, size: int, *, v0: bool) -> BinFile:
    """start: at least the header's bytes. Raises CheckpointError where it and size do not agree."""
    header_bytes = _V0_BYTES if v0 else HEADER_BYTES
    if len(start) < header_bytes:
        raise CheckpointError(f"{where}: expected a header of {header_bytes} bytes, found a file of {size}")
    if v0:
        numbers = struct.unpack_from("<7i", start)
        format_name, shared, group = "v0", numbers[5] > 0, 0
    else:
        version, *numbers_list, flag, group = struct.unpack_from("<4xi7iBi", start)
        numbers = tuple(numbers_list)
        format_name = "v2" if version == 2 else "v1" if group else "v1-fp32"
        shared = _check_rest(where, start, version, flag, group)
    values = dict(zip(FIELDS, numbers, strict=True))
    if v0 and values["vocab_size"] != -(2**31):
        values["vocab_size"] = abs(values["vocab_size"])
    try:
        config = ModelConfig(**values, tied=bool(shared))
    except CheckpointError as error:
        raise CheckpointError(f"{where}: {error}") from error
    if group:
        check_groups(where, config, group)
    return whole_file(where, format_name, config, group, size, lambda model: lay_out(model, format_name, group))


def whole_file(
    where: str,
    format_name: str,
    config: ModelConfig,
    group: int,
    size: int,
    laid_out: Callable[[ModelConfig], Layout],
) -> BinFile:
    """Return what is known of a file whose header was read. Raises CheckpointError where its size is another."""
    expected = _size(config, laid_out)
    if expected != size:
        raise CheckpointError(f"{where}: expected {expected} bytes, as its {format_name} header says, found {size}")
    if config.n_layers > MOST_TENSORS:
        raise CheckpointError(f"{where}: n_layers: expected at most {MOST_TENSORS}, found {config.n_layers}")
    return BinFile(format_name, config, group, laid_out(config))


def _size(config: ModelConfig, laid_out: Callable[[ModelConfig], Layout]) -> int:
    """Of a whole file, without counting out its layers: all of them are as long as the second."""
    one, two = (laid_out(replace(config, n_layers=n)).size for n in (1, 2))
    return one + (two - one) * (config.n_layers - 1)


def _check_rest(where: str, start: bytes, version: int, flag: int, group: int) -> bool:
    if version not in (1, 2):
        raise CheckpointError(f"{where}: version: expected 1 or 2, found {version}")
    if flag not in (0, 1):
        raise CheckpointError(f"{where}: shared_classifier: expected 0 or 1, found {flag}")
    if group < 0 or (version == 2 and group == 0):
        raise CheckpointError(f"{where}: group_size: expected a positive integer, found {group}")
    if start[41:HEADER_BYTES].strip(b"\0"):
        raise CheckpointError(f"{where}: expected zeros from byte 41 to 256, found others")
    return bool(flag)


def check_groups(where: str, config: ModelConfig, group: int) -> None:
    """Raise CheckpointError for a group that straddles rows: it has no layout that anybody reads alike."""
    for name, shape in tensor_shapes(replace(config, n_layers=1)).items():
        if len(shape) == 2 and shape[1] % group:
            raise CheckpointError(
                f"{where}: group_size: expected a divisor of {shape[1]}, the width of {name}, found {group}"
            )
