"""Parse v3's head strictly: exactly one sequence of bytes is legal for each content.

The free choices (config, storages, group sizes, metadata, digests) are decoded and checked one by one; then the head
is encoded again from them, and the first byte that differs names the wrong field.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

import numpy as np
from blake3 import blake3

from exporter.config import (
    ACTIVATIONS,
    LARGEST,
    ROPE_SCALING_FIELDS,
    SMALLEST,
    ModelConfig,
    RopeScaling,
    tensor_shapes,
)
from exporter.errors import CheckpointError
from exporter.formats import v3
from exporter.formats.layout import LARGEST_GROUP, MAGIC

MOST_ALIGNMENT = 4096

_COUNTS = ("dim", "hidden_dim", "n_layers", "n_heads", "n_kv_heads", "vocab_size", "max_seq_len")
_SCALING_REALS = {
    "factor": 72,
    "low_freq_factor": 80,
    "high_freq_factor": 88,
    "beta_fast": 96,
    "beta_slow": 104,
    "attention_factor": 112,
}
_MODEL_DIGEST_AT = 160
# Where each field begins whose value follows from the others.
_HEADER_FIELDS = {
    128: "file size",
    136: "head size",
    144: "metadata size",
    148: "metadata count",
    152: "tensor count",
    156: "entry size",
    _MODEL_DIGEST_AT: "model digest",
    192: "header padding",
}
_ENTRY_FIELDS = {
    0: "tensor name",
    64: "dimensions",
    68: "storage",
    72: "shape",
    104: "group_size",
    108: "table padding",
    112: "offset",
    120: "length",
    128: "scale offset",
    136: "scale length",
    144: "table padding",
}
# Fields of which the wrong byte is reported alone.
_PADDING = ("header padding", "table padding", "head padding")


class V3Error(CheckpointError):
    """A file breaks a rule of v3. field: the one at fault. offset: of its first byte, None for the file's size."""

    def __init__(self, where: str, field: str, offset: int | None, expected: object, found: object) -> None:
        self.field, self.offset = field, offset
        at = "" if offset is None else f" at {offset}"
        super().__init__(f"{where}: {field}{at}: expected {expected}, found {found}")


@dataclass(frozen=True)
class Head:
    """A checked head: the layout, the metadata, and each tensor's digest in the order of plan.entries."""

    plan: v3.Plan
    metadata: dict[str, str]
    digests: tuple[bytes, ...]


class Parser:
    """Parses one head. where: the file's name, for messages. head: the head's bytes. size: of the whole file."""

    def __init__(self, where: str, head: bytes, size: int) -> None:
        self._where, self._head, self._size = where, head, size

    def parse(self) -> Head:
        """Return the checked head. Raises V3Error for the first rule that the file breaks."""
        if self._size < v3.HEADER.size:
            raise self._wrong("file size", None, f"at least {v3.HEADER.size}", self._size)
        self._exactly("magic", 0, "<I", MAGIC)
        self._exactly("version", 4, "<i", v3.VERSION)
        config = self._config()
        alignment = self._u32("alignment", 124, v3.ALIGNMENT, MOST_ALIGNMENT)
        if alignment & (alignment - 1):
            raise self._wrong("alignment", 124, f"a power of two up to {MOST_ALIGNMENT}", alignment)
        (size,) = struct.unpack_from("<Q", self._head, 128)
        if size != self._size:
            raise self._wrong("file size", None, f"exactly {size}", self._size)
        shapes = self._tensors(config)
        table_end = v3.HEADER.size + v3.ENTRY.size * len(shapes)
        metadata_size = self._u32("metadata size", 144, 0, v3.MOST_METADATA_BYTES)
        count = self._u32("metadata count", 148, 0, v3.MOST_METADATA)
        head_size = -(-(table_end + metadata_size + v3.DIGEST_BYTES) // alignment) * alignment
        self._exactly("head size", 136, "<Q", head_size)
        if head_size > self._size:
            raise self._wrong("file size", None, f"at least {head_size}", self._size)
        metadata = self._metadata(table_end, table_end + metadata_size, count)
        stored = {
            name: self._stored(v3.HEADER.size + number * v3.ENTRY.size, shape)
            for number, (name, shape) in enumerate(shapes.items())
        }
        plan = v3.plan(config, stored, metadata, alignment)
        if plan.size > self._size + v3.MOST_TENSORS * MOST_ALIGNMENT:
            # the header could not even hold these sizes; a smaller mistake is reported by its field below
            raise self._wrong("file size", None, f"exactly {plan.size}", self._size)
        digests = tuple(self._head[at + 160 : at + 192] for at in range(v3.HEADER.size, table_end, v3.ENTRY.size))
        self._compare(v3.encode_head(plan, digests), table_end)
        if plan.size != self._size:
            raise self._wrong("file size", None, f"exactly {plan.size}", self._size)
        return Head(plan, metadata, digests)

    # ---- fields ----

    def _wrong(self, field: str, offset: int | None, expected: object, found: object) -> V3Error:
        return V3Error(self._where, field, offset, expected, found)

    def _u32(self, field: str, at: int, least: int, most: int) -> int:
        (value,) = struct.unpack_from("<I", self._head, at)
        if not least <= value <= most:
            raise self._wrong(field, at, f"{least} to {most}", value)
        return int(value)

    def _exactly(self, field: str, at: int, kind: str, expected: int) -> None:
        (value,) = struct.unpack_from(kind, self._head, at)
        if value != expected:
            raise self._wrong(field, at, expected, value)

    def _positive(self, field: str, at: int) -> float:
        (value,) = struct.unpack_from("<d", self._head, at)
        if not SMALLEST <= value <= LARGEST:
            raise self._wrong(field, at, "a positive finite number, normal as float32", value)
        return float(value)

    def _config(self) -> ModelConfig:
        counts = dict(zip(_COUNTS, struct.unpack_from("<7i", self._head, 8), strict=True))
        for number, (field, value) in enumerate(counts.items()):
            if value < 1:
                raise self._wrong(field, 8 + 4 * number, "at least 1", value)
        if counts["n_heads"] % counts["n_kv_heads"]:
            raise self._wrong("n_kv_heads", 24, f"a divisor of {counts['n_heads']}", counts["n_kv_heads"])
        head_dim = self._u32("head_dim", 36, 1, (2**31 - 1) // counts["n_heads"])
        if head_dim % 2:
            raise self._wrong("head_dim", 36, "a multiple of 2", head_dim)
        flags = self._u32("flags", 40, 0, 15)
        theta, scaling = self._positive("rope_theta", 56), self._scaling(counts["max_seq_len"])
        if scaling.type == "yarn" and theta == 1:
            raise self._wrong("rope_theta", 56, "other than 1, whose logarithm yarn divides by", theta)
        return ModelConfig(
            **counts,
            tied=bool(flags & 1),
            qkv_bias=bool(flags & 2),
            wo_bias=bool(flags & 4),
            mlp_bias=bool(flags & 8),
            head_dim=head_dim,
            activation=ACTIVATIONS[self._u32("activation", 44, 0, len(ACTIVATIONS) - 1)],
            norm_eps=self._positive("norm_eps", 48),
            rope_theta=theta,
            rope_scaling=scaling,
        )

    def _scaling(self, max_seq_len: int) -> RopeScaling:
        kind = v3.ROPE_TYPES[self._u32("rope_scaling type", 64, 0, len(v3.ROPE_TYPES) - 1)]
        used = ROPE_SCALING_FIELDS[kind]
        bounded = "original_max_positions" in used
        original = self._u32("rope_scaling original_max_positions", 68, int(bounded), 2**31 - 1 if bounded else 0)
        reals = {}
        for field, at in _SCALING_REALS.items():
            if field in used:
                reals[field] = self._positive(f"rope_scaling {field}", at)
            else:
                self._exactly(f"rope_scaling {field}", at, "<Q", 0)
        truncate = self._u32("rope_scaling truncate", 120, 0, int("truncate" in used))
        if kind == "llama3" and not reals["low_freq_factor"] < reals["high_freq_factor"]:
            raise self._wrong(
                "rope_scaling high_freq_factor", 88, "more than low_freq_factor", reals["high_freq_factor"]
            )
        if kind == "dynamic" and max_seq_len > original:
            raise self._wrong("max_seq_len", 32, f"at most original_max_positions = {original}", max_seq_len)
        return RopeScaling(kind, original_max_positions=original, truncate=bool(truncate), **reals)

    def _tensors(self, config: ModelConfig) -> dict[str, tuple[int, ...]]:
        """Return the names and shapes, counted before they are made: a small file may claim very many layers."""
        self._exactly("entry size", 156, "<I", v3.ENTRY.size)
        found = self._u32("tensor count", 152, 1, v3.MOST_TENSORS)
        a_layer = 9 + 3 * config.qkv_bias + config.wo_bias + 3 * config.mlp_bias
        expected = config.n_layers * a_layer + 2 + (not config.tied)
        if found != expected:
            raise self._wrong("tensor count", 152, expected, found)
        return tensor_shapes(config)

    def _stored(self, at: int, shape: tuple[int, ...]) -> v3.Stored:
        number = self._u32("storage", at + 68, 1, max(v3.STORAGES.values()))
        names = {number: name for name, number in v3.STORAGES.items()}
        if number not in names:
            raise self._wrong("storage", at + 68, f"one of {sorted(names)}", number)
        storage = names[number]
        if storage != "q8_0":
            self._exactly("group_size", at + 104, "<I", 0)
            return v3.Stored(storage)
        if len(shape) == 1:
            raise self._wrong("storage of a vector", at + 68, "one number an element", storage)
        group_size = self._u32("group_size", at + 104, 1, LARGEST_GROUP)
        if shape[-1] % group_size:
            raise self._wrong("group_size", at + 104, f"a divisor of the row's {shape[-1]}", group_size)
        return v3.Stored(storage, group_size)

    def _metadata(self, at: int, end: int, count: int) -> dict[str, str]:
        start, metadata, last = at, {}, b""
        for _ in range(count):
            if end - at < 8:
                raise self._wrong("metadata size", 144, f"at least {at + 8 - start}", end - start)
            key_size = self._u32("metadata key size", at, 1, v3.LONGEST_KEY)
            value_size = self._u32("metadata value size", at + 4, 0, v3.LONGEST_VALUE)
            at += 8
            if end - at < key_size + value_size:
                raise self._wrong("metadata size", 144, f"at least {at + key_size + value_size - start}", end - start)
            key = self._head[at : at + key_size]
            if not v3.is_key(key):
                raise self._wrong("metadata key", at, "a-z, 0-9 and . _ -", key)
            try:
                metadata[key.decode()] = self._head[at + key_size : at + key_size + value_size].decode()
            except UnicodeDecodeError as error:
                raise self._wrong("metadata value", at + key_size, "UTF-8", error.reason) from error
            if key <= last:
                raise self._wrong("metadata key", at, f"more than {last!r}", key)
            last = key
            at += key_size + value_size
        if at != end:
            raise self._wrong("metadata size", 144, at - start, end - start)
        return metadata

    def _compare(self, expected: bytes, table_end: int) -> None:
        """Raise V3Error for the first byte that does not follow from the others, named by its field.

        The digests come last, since they differ wherever anything does.
        """
        found, end = self._head, len(expected) - v3.DIGEST_BYTES
        without_digests = [
            part[:_MODEL_DIGEST_AT] + bytes(v3.DIGEST_BYTES) + part[_MODEL_DIGEST_AT + v3.DIGEST_BYTES : end]
            for part in (expected, found)
        ]
        one, other = (np.frombuffer(part, np.uint8) for part in without_digests)
        differs = one != other
        first = int(differs.argmax())
        if not differs[first]:
            # the head's digest first: a damaged byte breaks it and no other rule
            check_digest(self._where, "head", found[:end], found[end:], end)
            of_model = found[_MODEL_DIGEST_AT : _MODEL_DIGEST_AT + v3.DIGEST_BYTES]
            covered = found[: v3.MODEL_FIELDS] + found[v3.HEADER.size : table_end]
            check_digest(self._where, "model", covered, of_model, _MODEL_DIGEST_AT)
            return
        field, at, size = self._field_at(first, table_end)
        if field == "tensor name":
            names = (part[at : at + size].rstrip(b"\0").decode(errors="replace") for part in (expected, found))
            raise self._wrong(field, at, *(repr(name) for name in names))
        values = (int.from_bytes(part[at : at + size], "little") for part in (expected, found))
        raise self._wrong(field, at, *values)

    def _field_at(self, byte: int, table_end: int) -> tuple[str, int, int]:
        """Return (field, its first byte, its size) for a byte in the head; each byte of padding counts alone."""
        if byte >= table_end:
            return "head padding", byte, 1
        base = 0 if byte < v3.HEADER.size else byte - (byte - v3.HEADER.size) % v3.ENTRY.size
        fields = _ENTRY_FIELDS if base else _HEADER_FIELDS
        starts = [*sorted(fields), 160 if base else v3.HEADER.size]
        start = max(s for s in starts if s <= byte - base)
        field = fields[start]
        if field in _PADDING:
            return field, byte, 1
        if field == "shape":
            return field, base + start + (byte - base - start) // 8 * 8, 8
        return field, base + start, next(s for s in starts if s > start) - start


def check_digest(where: str, of: str, content: bytes | memoryview, digest: bytes, at: int) -> None:
    """Raise V3Error unless content has the digest that stands at byte `at` of the file."""
    computed = blake3(content, max_threads=blake3.AUTO).digest()
    if computed != digest:
        raise V3Error(where, f"{of} digest", at, f"{computed.hex()}, as the bytes have it", digest.hex())
