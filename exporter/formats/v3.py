"""v3, the format whose files describe themselves: the layout as data, and the head's bytes.

docs/format-v3.md is the specification.

    fixed header (256 bytes), architecture (256 bytes), layer table (4 bytes a layer, zeros up to a multiple of 64),
    longrope's factors (4 bytes a rotated pair, zeros up to a multiple of 64), table of tensors (192 bytes each),
    metadata, tokenizer, zeros, BLAKE3 of all that; then the payload: each tensor's values, and its scales if it has
    any, each at a multiple of `alignment`, zeros between.

Offsets count from the payload's start, so that the table does not depend on the metadata. Every number in the table
except storages and group sizes follows from the config: a reader computes it and compares.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import prod

from blake3 import blake3

from exporter.config import ACTIVATIONS, ModelConfig, tensor_shapes
from exporter.errors import FormatError
from exporter.formats.layout import MAGIC, Part, PartName
from exporter.rope_scaling import ROPE_SCALING_FIELDS
from exporter.switches import LAYER_ROPES, NORM_PLACES, QK_NORMS

VERSION = 3
ALIGNMENT = 64
DIGEST_BYTES = 32

HEADER = struct.Struct("<Ii7i3I2d2I6d2I2Q4I32sQ56x")
ARCHITECTURE = struct.Struct("<6I8d4I152x")
LAYERS_AT = HEADER.size + ARCHITECTURE.size
LAYER_BYTES = 4
FACTOR_BYTES = 4
# The layer table, the factors and the tokenizer fill whole blocks of this size.
BLOCK = 64
ENTRY = struct.Struct("<64s2I4Q2I4Q16x32s")
# The model's digest covers these first bytes, which are the fields that the logits depend on, the architecture, the
# layer table, the factors of longrope and the table of tensors.
MODEL_FIELDS = 128

# How the file numbers storages. Up to 7: one number for each element; from 8 on: groups with scales; from 16 on:
# reserved for 4 bits for each element.
STORAGES = {"fp32": 1, "fp16": 2, "bf16": 3, "q8_0": 8}
ELEMENT_BYTES = {"fp32": 4, "fp16": 2, "bf16": 2, "q8_0": 1}
ROPE_TYPES = tuple(ROPE_SCALING_FIELDS)

# Limits larger than any model needs, and small enough that a wrong head is refused at once.
MOST_TENSORS = 1 << 16
MOST_METADATA_BYTES = 1 << 20
MOST_METADATA = 256
LONGEST_KEY = 64
LONGEST_VALUE = 1 << 16
MOST_TOKENIZER_BYTES = 1 << 26


@dataclass(frozen=True)
class Stored:
    """How one tensor is stored: a key of STORAGES, and the size of Q8_0's groups (0 for the other storages)."""

    storage: str
    group_size: int = 0


@dataclass(frozen=True)
class Entry:
    """One row of the table, without its digest.

    offset, scale_offset: from the payload's start. extent: bytes from offset to the next tensor, with the padding;
    the digest covers them.
    """

    name: str
    shape: tuple[int, ...]
    stored: Stored
    offset: int
    length: int
    scale_offset: int
    scale_length: int
    extent: int


@dataclass(frozen=True)
class Plan:
    """The place of every byte in a v3 file: the head up to head_size, then the payload up to size.

    metadata: its encoded bytes. tokenizer: the tokenizer block, empty without one.
    """

    config: ModelConfig
    entries: tuple[Entry, ...]
    metadata: bytes
    metadata_count: int
    tokenizer: bytes
    alignment: int
    head_size: int
    size: int

    def parts(self) -> list[Part]:
        """Return the payload's parts, with offsets from the file's start."""
        parts = []
        for e in self.entries:
            values: PartName = "int8" if e.stored.storage == "q8_0" else e.stored.storage  # type: ignore[assignment]
            parts.append(Part(e.name, values, e.shape, self.head_size + e.offset, e.length))
            if e.scale_length:
                shape = (*e.shape[:-1], e.shape[-1] // e.stored.group_size)
                parts.append(Part(e.name, "scale", shape, self.head_size + e.scale_offset, e.scale_length))
        return parts


def factors_at(n_layers: int) -> int:
    """Return where the layer table and its padding end, and the factors of longrope begin."""
    return LAYERS_AT + _aligned(LAYER_BYTES * n_layers, BLOCK)


def table_at(n_layers: int, factors: int) -> int:
    """Return where the table of tensors begins, after the factors of longrope and their padding.

    factors: how many there are; 0 for another RoPE.
    """
    return factors_at(n_layers) + _aligned(FACTOR_BYTES * factors, BLOCK)


def plan(
    config: ModelConfig,
    stored: Mapping[str, Stored],
    metadata: Mapping[str, str],
    alignment: int = ALIGNMENT,
    tokenizer: bytes = b"",
) -> Plan:
    """Lay out a v3 file. stored: how each tensor is stored. tokenizer: a tokenizer block. Raises FormatError where a
    limit of v3 is exceeded."""
    encoded = encode_metadata(metadata)
    if len(tokenizer) % BLOCK or len(tokenizer) > MOST_TOKENIZER_BYTES:
        raise FormatError(
            f"tokenizer: expected a multiple of {BLOCK} bytes, at most {MOST_TOKENIZER_BYTES}, found {len(tokenizer)}"
        )
    shapes = tensor_shapes(config)
    if len(shapes) > MOST_TENSORS:
        raise FormatError(f"v3: expected at most {MOST_TENSORS} tensors, found {len(shapes)}")
    entries = []
    at = 0
    for name, shape in shapes.items():
        how = stored[name]
        length = prod(shape) * ELEMENT_BYTES[how.storage]
        scale_offset = scale_length = 0
        end = at + length
        if how.group_size:
            scale_offset, scale_length = _aligned(end, alignment), prod(shape) // how.group_size * 4
            end = scale_offset + scale_length
        extent = _aligned(end, alignment) - at
        entries.append(Entry(name, shape, how, at, length, scale_offset, scale_length, extent))
        at += extent
    table_end = table_at(config.n_layers, len(config.rope_scaling.short_factors)) + len(entries) * ENTRY.size
    head_size = _aligned(table_end + len(encoded) + len(tokenizer) + DIGEST_BYTES, alignment)
    return Plan(config, tuple(entries), encoded, len(metadata), tokenizer, alignment, head_size, head_size + at)


def encode_head(plan: Plan, digests: Sequence[bytes]) -> bytes:
    """Return all bytes before the payload. digests: BLAKE3 of each entry's extent, in the order of plan.entries."""
    table = b"".join(
        ENTRY.pack(
            e.name.encode(),
            len(e.shape),
            STORAGES[e.stored.storage],
            *(*e.shape, 0, 0, 0)[:4],
            e.stored.group_size,
            0,
            e.offset,
            e.length,
            e.scale_offset,
            e.scale_length,
            digest,
        )
        for e, digest in zip(plan.entries, digests, strict=True)
    )
    unsigned = _header(plan, bytes(DIGEST_BYTES))
    architecture = _architecture(plan.config) + _factors(plan.config)
    of_model = blake3(unsigned[:MODEL_FIELDS] + architecture + table).digest()
    head = _header(plan, of_model) + architecture + table + plan.metadata + plan.tokenizer
    head = head.ljust(plan.head_size - DIGEST_BYTES, b"\0")
    return head + blake3(head).digest()


def _header(plan: Plan, of_model: bytes) -> bytes:
    c, s = plan.config, plan.config.rope_scaling
    return HEADER.pack(
        MAGIC,
        VERSION,
        *(c.dim, c.hidden_dim, c.n_layers, c.n_heads, c.n_kv_heads, c.vocab_size, c.max_seq_len),
        c.head_dim,
        c.tied | c.qkv_bias << 1 | c.wo_bias << 2 | c.mlp_bias << 3,
        ACTIVATIONS.index(c.activation),
        c.norm_eps,
        c.rope_theta,
        ROPE_TYPES.index(s.type),
        s.original_max_positions,
        *(s.factor, s.low_freq_factor, s.high_freq_factor, s.beta_fast, s.beta_slow, s.attention_factor),
        s.truncate,
        plan.alignment,
        plan.size,
        plan.head_size,
        len(plan.metadata),
        plan.metadata_count,
        len(plan.entries),
        ENTRY.size,
        of_model,
        len(plan.tokenizer),
    )


def _architecture(c: ModelConfig) -> bytes:
    """Encode the architecture block and the layer table with its padding."""
    block = ARCHITECTURE.pack(
        NORM_PLACES.index(c.norm_place),
        c.norm_plus_one,
        QK_NORMS.index(c.qk_norm),
        c.rotated,
        *(c.window, c.query_scale_positions),
        *(c.embedding_scale, c.score_scale, c.residual_scale, c.logit_divisor),
        *(c.score_cap, c.logit_cap, c.query_scale_beta, c.local_theta),
        *(c.n_experts, c.n_active_experts, c.expert_hidden_dim, c.experts_normalized),
    )
    layers = (c.layer(number) for number in range(c.n_layers))
    words = [layer.windowed | LAYER_ROPES.index(layer.rope) << 1 | layer.experts << 3 for layer in layers]
    return (block + struct.pack(f"<{len(words)}I", *words)).ljust(factors_at(c.n_layers) - HEADER.size, b"\0")


def _factors(c: ModelConfig) -> bytes:
    """Encode the factors of longrope with their padding."""
    factors = c.rope_scaling.short_factors
    return struct.pack(f"<{len(factors)}f", *factors).ljust(_aligned(FACTOR_BYTES * len(factors), BLOCK), b"\0")


def encode_metadata(metadata: Mapping[str, str]) -> bytes:
    """Encode metadata with keys ascending, each pair behind its two sizes. Raises FormatError beyond v3's limits."""
    encoded = b""
    for key, value in sorted(metadata.items()):
        k, v = key.encode(), value.encode()
        if not is_key(k):
            raise FormatError(f"metadata: expected 1 to {LONGEST_KEY} of a-z, 0-9, . _ -, found {key!r}")
        if len(v) > LONGEST_VALUE:
            raise FormatError(f"metadata: {key}: expected at most {LONGEST_VALUE} bytes, found {len(v)}")
        encoded += struct.pack("<II", len(k), len(v)) + k + v
    if len(metadata) > MOST_METADATA or len(encoded) > MOST_METADATA_BYTES:
        raise FormatError(
            f"metadata: expected at most {MOST_METADATA} entries and {MOST_METADATA_BYTES} bytes, "
            f"found {len(metadata)} and {len(encoded)}"
        )
    return encoded


def is_key(key: bytes) -> bool:
    """Return whether key is legal in v3's metadata: 1 to LONGEST_KEY of a-z, 0-9, "." "_" "-"."""
    return 1 <= len(key) <= LONGEST_KEY and not key.strip(b"abcdefghijklmnopqrstuvwxyz0123456789._-")


def _aligned(n: int, alignment: int) -> int:
    return -(-n // alignment) * alignment
