"""Parse v3's head strictly: exactly one sequence of bytes is legal for each content.

The free choices (config, storages, group sizes, metadata, digests) are decoded and checked one by one; then the head
is encoded again from them, and the first byte that differs names the wrong field.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from blake3 import blake3

from exporter.config import tensor_shapes
from exporter.experts import expert_matrix, is_router
from exporter.formats import v3
from exporter.formats.layout import LARGEST_GROUP, MAGIC
from exporter.formats.v3_fields import Fields, V3Error
from exporter.formats.v3_hyperparameters import factor_count, read_config, tensor_count

MOST_ALIGNMENT = 4096

_MODEL_DIGEST_AT = 160
# The fields whose value follows from the others: (name, first byte, size). Every other field is decoded and encoded
# again, or checked before, so that it cannot differ.
_HEADER_FIELDS = (("file size", 128, 8), ("header padding", 200, 56))
_ENTRY_FIELDS = (
    ("tensor name", 0, 64),
    ("dimensions", 64, 4),
    ("shape", 72, 8),
    ("shape", 80, 8),
    ("shape", 88, 8),
    ("shape", 96, 8),
    ("table padding", 108, 4),
    ("offset", 112, 8),
    ("length", 120, 8),
    ("scale offset", 128, 8),
    ("scale length", 136, 8),
    ("table padding", 144, 16),
)
# Fields of which the wrong byte is reported alone.
_PADDING = ("header padding", "table padding")


@dataclass(frozen=True)
class Head:
    """A checked head: the layout, the metadata, and each tensor's digest in the order of plan.entries."""

    plan: v3.Plan
    metadata: dict[str, str]
    digests: tuple[bytes, ...]


class Parser(Fields):
    """Parses one head."""

    def parse(self) -> Head:
        """Return the checked head. Raises V3Error for the first rule that the file breaks."""
        if self.size < v3.LAYERS_AT:
            raise self.wrong("file size", None, f"at least {v3.LAYERS_AT}", self.size)
        self.exactly("magic", 0, "<I", MAGIC)
        self.exactly("version", 4, "<i", v3.VERSION)
        layers, tensors = self._counts()
        alignment = self.u32("alignment", 124, v3.ALIGNMENT, MOST_ALIGNMENT)
        if alignment & (alignment - 1):
            raise self.wrong("alignment", 124, f"a power of two up to {MOST_ALIGNMENT}", alignment)
        size = int.from_bytes(self.head[128:136], "little")
        if size != self.size:
            raise self.wrong("file size", None, f"exactly {size}", self.size)
        table = v3.table_at(layers, factor_count(self))
        table_end = table + v3.ENTRY.size * tensors
        metadata_size = self.u32("metadata size", 144, 0, v3.MOST_METADATA_BYTES)
        count = self.u32("metadata count", 148, 0, v3.MOST_METADATA)
        tokenizer_at, tokenizer_size = table_end + metadata_size, self._tokenizer_size()
        head_size = -(-(tokenizer_at + tokenizer_size + v3.DIGEST_BYTES) // alignment) * alignment
        self.exactly("head size", 136, "<Q", head_size)
        if head_size > self.size:
            raise self.wrong("file size", None, f"at least {head_size}", self.size)
        config = read_config(self)
        metadata = self._metadata(table_end, tokenizer_at, count)
        stored = self._storages(table, tensor_shapes(config))
        tokenizer = self.head[tokenizer_at : tokenizer_at + tokenizer_size]
        plan = v3.plan(config, stored, metadata, alignment, tokenizer)
        if plan.size > self.size + v3.MOST_TENSORS * MOST_ALIGNMENT:
            # the header could not even hold these sizes; a smaller mistake is reported by its field below
            raise self.wrong("file size", None, f"exactly {plan.size}", self.size)
        digests = tuple(self.head[at + 160 : at + 192] for at in range(table, table_end, v3.ENTRY.size))
        self._compare(v3.encode_head(plan, digests), table, table_end)
        return Head(plan, metadata, digests)

    # ---- fields ----

    def _counts(self) -> tuple[int, int]:
        """Return the number of layers and of tensors, which agree: a small file may claim very many."""
        self.exactly("entry size", 156, "<I", v3.ENTRY.size)
        found = self.u32("tensor count", 152, 1, v3.MOST_TENSORS)
        layers, expected = tensor_count(self)
        if found != expected:
            raise self.wrong("tensor count", 152, expected, found)
        return layers, found

    def _tokenizer_size(self) -> int:
        size = int.from_bytes(self.head[192:200], "little")
        if size > v3.MOST_TOKENIZER_BYTES:
            raise self.wrong("tokenizer size", 192, f"at most {v3.MOST_TOKENIZER_BYTES}", size)
        if size % v3.BLOCK:
            raise self.wrong("tokenizer size", 192, f"a multiple of {v3.BLOCK}", size)
        return size

    def _storages(self, table: int, shapes: dict[str, tuple[int, ...]]) -> dict[str, v3.Stored]:
        """Return how each tensor is stored: one way for a matrix of all experts of a layer."""
        stored: dict[str, v3.Stored] = {}
        of_experts: dict[tuple[str, str], v3.Stored] = {}
        for number, (name, shape) in enumerate(shapes.items()):
            at = table + number * v3.ENTRY.size
            own = stored[name] = self._stored(at, shape)
            if own.group_size and is_router(name):
                raise self.wrong("storage of a router", at + 68, "one number an element", own.storage)
            place = expert_matrix(name)
            first = of_experts.setdefault(place, own) if place else own
            if own.storage != first.storage:
                raise self.wrong("storage of an expert", at + 68, f"{first.storage}, as expert 0 has", own.storage)
            if own != first:
                expected = f"{first.group_size}, as expert 0 has"
                raise self.wrong("group_size of an expert", at + 104, expected, own.group_size)
        return stored

    def _stored(self, at: int, shape: tuple[int, ...]) -> v3.Stored:
        number = self.u32("storage", at + 68, 1, max(v3.STORAGES.values()))
        names = {number: name for name, number in v3.STORAGES.items()}
        if number not in names:
            raise self.wrong("storage", at + 68, f"one of {sorted(names)}", number)
        storage = names[number]
        if storage != "q8_0":
            self.exactly("group_size", at + 104, "<I", 0)
            return v3.Stored(storage)
        if len(shape) == 1:
            raise self.wrong("storage of a vector", at + 68, "one number an element", storage)
        group_size = self.u32("group_size", at + 104, 1, LARGEST_GROUP)
        _, width = shape
        if width % group_size:
            raise self.wrong("group_size", at + 104, f"a divisor of the row's {width}", group_size)
        return v3.Stored(storage, group_size)

    def _metadata(self, at: int, end: int, count: int) -> dict[str, str]:
        start, metadata, last = at, {}, b""
        for _ in range(count):
            if end - at < 8:
                raise self.wrong("metadata size", 144, f"at least {at + 8 - start}", end - start)
            key_size = self.u32("metadata key size", at, 1, v3.LONGEST_KEY)
            value_size = self.u32("metadata value size", at + 4, 0, v3.LONGEST_VALUE)
            at += 8
            if end - at < key_size + value_size:
                raise self.wrong("metadata size", 144, f"at least {at + key_size + value_size - start}", end - start)
            key = self.head[at : at + key_size]
            if not v3.is_key(key):
                raise self.wrong("metadata key", at, "a-z, 0-9 and . _ -", key)
            try:
                metadata[key.decode()] = self.head[at + key_size : at + key_size + value_size].decode()
            except UnicodeDecodeError as error:
                raise self.wrong("metadata value", at + key_size, "UTF-8", error.reason) from error
            if key <= last:
                raise self.wrong("metadata key", at, f"more than {last!r}", key)
            last = key
            at += key_size + value_size
        if at != end:
            raise self.wrong("metadata size", 144, at - start, end - start)
        return metadata

    def _compare(self, expected: bytes, table: int, table_end: int) -> None:
        """Raise V3Error for the first byte that does not follow from the others, named by its field.

        The digests come last, since they differ wherever anything does.
        """
        found, end = self.head, len(expected) - v3.DIGEST_BYTES
        without_digests = [
            part[:_MODEL_DIGEST_AT] + bytes(v3.DIGEST_BYTES) + part[_MODEL_DIGEST_AT + v3.DIGEST_BYTES : end]
            for part in (expected, found)
        ]
        one, other = (np.frombuffer(part, np.uint8) for part in without_digests)
        differs = one != other
        first = int(differs.argmax())
        if not differs[first]:
            # the head's digest first: a damaged byte breaks it and no other rule
            check_digest(self.where, "head", found[:end], found[end:], end)
            of_model = found[_MODEL_DIGEST_AT : _MODEL_DIGEST_AT + v3.DIGEST_BYTES]
            covered = found[: v3.MODEL_FIELDS] + found[v3.HEADER.size : table_end]
            check_digest(self.where, "model", covered, of_model, _MODEL_DIGEST_AT)
            return
        field, at, size = self._field_at(first, table, table_end)
        if field == "tensor name":
            names = (part[at : at + size].rstrip(b"\0").decode(errors="replace") for part in (expected, found))
            raise self.wrong(field, at, *(repr(name) for name in names))
        values = (int.from_bytes(part[at : at + size], "little") for part in (expected, found))
        raise self.wrong(field, at, *values)

    def _field_at(self, byte: int, table: int, table_end: int) -> tuple[str, int, int]:
        """Return (field, its first byte, its size) for a byte in the head; each byte of padding counts alone."""
        if byte >= table_end:
            return "head padding", byte, 1
        if v3.HEADER.size <= byte < table:
            if byte < v3.LAYERS_AT:
                return "architecture padding", byte, 1
            factors = v3.factors_at(int.from_bytes(self.head[16:20], "little"))
            return "layer table padding" if byte < factors else "RoPE factor padding", byte, 1
        base = 0 if byte < v3.HEADER.size else byte - (byte - table) % v3.ENTRY.size
        fields = _ENTRY_FIELDS if base else _HEADER_FIELDS
        field, at, size = next(one for one in fields if one[1] <= byte - base < one[1] + one[2])
        return (field, byte, 1) if field in _PADDING else (field, base + at, size)


def check_digest(where: str, of: str, content: bytes | memoryview, digest: bytes, at: int) -> None:
    """Raise V3Error unless content has the digest that stands at byte `at` of the file."""
    computed = blake3(content, max_threads=blake3.AUTO).digest()
    if computed != digest:
        raise V3Error(where, f"{of} digest", at, f"{computed.hex()}, as the bytes have it", digest.hex())
