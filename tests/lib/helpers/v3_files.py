"""v3 files made by hand: a healthy one, and bytes changed in it with the digests set right again, so that nothing
but the rule in question is broken."""

from __future__ import annotations

import struct
from pathlib import Path

import pytest
from blake3 import blake3

import exporter
import reader_c
from exporter.bin_file import write_v3
from exporter.formats import v3
from exporter.formats.v3_fields import V3Error
from exporter.payload import PayloadWriter
from exporter.sources.v3 import open_v3
from helpers.models import arrays, config

HEADER, ENTRY = 256, 192

SCALINGS = {
    "none": exporter.RopeScaling(),
    "linear": exporter.RopeScaling("linear", factor=2.0),
    "dynamic": exporter.RopeScaling("dynamic", factor=2.0, original_max_positions=33),
    "llama3": exporter.RopeScaling(
        "llama3", factor=8.0, original_max_positions=16, low_freq_factor=1.0, high_freq_factor=4.0
    ),
    "yarn": exporter.RopeScaling(
        "yarn",
        factor=4.0,
        original_max_positions=16,
        beta_fast=32.0,
        beta_slow=1.0,
        attention_factor=1.1386,
        truncate=True,
    ),
    "longrope": exporter.RopeScaling(
        "longrope", original_max_positions=33, attention_factor=1.25, short_factors=(1.0, 1.125, 1.5, 3.0, 7.5)
    ),
}
METADATA = {"a.note": "grüße", "exporter": "by hand", "z": ""}


def healthy(
    path: Path, scaling: str = "none", *, alignment: int = 64, metadata: dict[str, str] | None = None
) -> bytes:
    """Every storage, every bias, its own head size; entry 0 is Q8_0, entry 1 a vector, entry 2 fp16."""
    model = config(
        head_dim=10, qkv_bias=True, wo_bias=True, mlp_bias=True, rope_scaling=SCALINGS[scaling], rope_theta=500000.0
    )
    names = list(exporter.config.tensor_shapes(model))
    storages = {name: v3.Stored("fp32") for name in names}
    storages |= {name: v3.Stored("bf16") for name in names if "feed_forward" in name}
    storages |= {name: v3.Stored("fp16") for name in names if ".wq." in name}
    storages |= {
        "tok_embeddings.weight": v3.Stored("q8_0", 12),
        "layers.1.attention.wo.weight": v3.Stored("q8_0", 20),
    }
    plan = v3.plan(model, storages, METADATA if metadata is None else metadata, alignment)
    payload = PayloadWriter(exporter.Checkpoint.from_arrays(model, arrays(model)))
    with path.open("wb+") as file:
        write_v3(file, payload, plan, lambda: METADATA if metadata is None else metadata)
    return path.read_bytes()


def head_size(content: bytes) -> int:
    return int(struct.unpack_from("<Q", content, 136)[0])


def table_at(content: bytes) -> int:
    """Where the table of tensors begins: after two blocks of 256 bytes, and the layer table and longrope's factors in
    whole blocks of 64."""
    (layers,), (scaling,), (rotary_dim,) = (
        struct.unpack_from(kind, content, at) for kind, at in (("<i", 16), ("<I", 64), ("<I", 268))
    )
    factors = min(rotary_dim, 1 << 16) // 2 if scaling == 5 else 0
    return 512 + sum(-(-4 * count // 64) * 64 for count in (max(0, min(layers, 1 << 20)), factors))


def patched(content: bytes, *changes: tuple[int, bytes], resign: bool = True) -> bytes:
    """content with bytes replaced at offsets, and both digests of the head made to fit."""
    changed = bytearray(content)
    for at, new in changes:
        changed[at : at + len(new)] = new
    if resign:
        size = head_size(content)
        end = table_at(content) + ENTRY * struct.unpack_from("<I", content, 152)[0]
        changed[160:192] = blake3(bytes(changed[:128]) + bytes(changed[HEADER:end])).digest()
        changed[size - 32 : size] = blake3(bytes(changed[: size - 32])).digest()
    return bytes(changed)


def put(at: int, kind: str, value: float) -> tuple[int, bytes]:
    """A change for patched(); kind: as struct has it."""
    return at, struct.pack(kind, value)


def refusals(path: Path, content: bytes) -> tuple[reader_c.InvalidFileError, V3Error]:
    """What the C reader and the exporter's parser say of a file that both must refuse."""
    path.write_bytes(content)
    with pytest.raises(reader_c.InvalidFileError) as by_c:
        reader_c.open(path, check_digests=True)
    with pytest.raises(V3Error) as by_python:
        checkpoint = open_v3(path)
        for name in checkpoint.names:
            checkpoint.load(name)
    return by_c.value, by_python.value
