"""Write one .bin file of each format: its header or head, and its payload through PayloadWriter."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import BinaryIO

import numpy as np
from blake3 import blake3
from numpy.typing import NDArray

from exporter.config import ModelConfig
from exporter.formats import ajc1, v3
from exporter.formats.layout import Layout, lay_out
from exporter.payload import PayloadWriter, write_all
from exporter.summary import TensorSummary


def write_legacy(
    file: BinaryIO, payload: PayloadWriter, config: ModelConfig, format_name: str, group_size: int
) -> tuple[TensorSummary, ...]:
    """Write a v0, v1, v1-fp32 or v2 file into an empty file. group_size: of v1 and v2; ignored by the others.

    Raises FormatError where the format cannot express config, and what PayloadWriter.write raises.
    """
    layout = lay_out(config, format_name, group_size)
    file.truncate(layout.size)
    write_all(file, memoryview(layout.header), 0)
    return payload.write(file, layout.parts, _stored(layout, group_size), layout.size)


def write_ajc1(
    file: BinaryIO, payload: PayloadWriter, config: ModelConfig, group_size: int
) -> tuple[TensorSummary, ...]:
    """Write a file of qwen3.c's into an empty file.

    Raises FormatError where the format cannot express config, and what PayloadWriter.write raises.
    """
    layout = ajc1.lay_out(config, group_size)
    file.truncate(layout.size)
    write_all(file, memoryview(layout.header), 0)
    return payload.write(
        file,
        layout.parts,
        _stored(layout, group_size),
        layout.size,
        arrange=lambda name, weights: ajc1.arranged(name, weights, config),
    )


def _stored(layout: Layout, group_size: int) -> dict[str, v3.Stored]:
    """Return how a layout stores each tensor."""
    return {
        part.tensor: v3.Stored("fp32") if part.part == "fp32" else v3.Stored("q8_0", group_size)
        for part in layout.parts
    }


def write_v3(
    file: BinaryIO, payload: PayloadWriter, plan: v3.Plan, metadata: Callable[[], Mapping[str, str]]
) -> tuple[TensorSummary, ...]:
    """Write a v3 file into an empty file: the payload first, then the head, which holds the payload's digests.

    metadata is called after the payload is written and returns as many bytes as plan.metadata has. Raises what
    PayloadWriter.write raises.
    """
    entries = {entry.name: entry for entry in plan.entries}
    digests: dict[str, bytes] = {}

    def digest(name: str, arrays: list[NDArray[np.generic]]) -> None:
        digests[name] = _digest(entries[name], arrays)

    stored = {name: entry.stored for name, entry in entries.items()}
    file.truncate(plan.size)
    summaries = payload.write(file, plan.parts(), stored, plan.size, digest)
    plan = dataclasses.replace(plan, metadata=v3.encode_metadata(metadata()))
    write_all(file, memoryview(v3.encode_head(plan, [digests[name] for name in entries])), 0)
    return summaries


def _digest(entry: v3.Entry, arrays: list[NDArray[np.generic]]) -> bytes:
    """Return BLAKE3 of a tensor's extent, padding included."""
    state = blake3(max_threads=blake3.AUTO)
    at = entry.offset
    for array, offset in zip(arrays, (entry.offset, entry.scale_offset), strict=False):
        state.update(bytes(offset - at))
        state.update(array.data.cast("B"))
        at = offset + array.nbytes
    state.update(bytes(entry.offset + entry.extent - at))
    return state.digest()
