"""What a header of v0 to v2 may say, stated a second time: in Python's unbounded integers, from the format's
description and not from the C parser."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass, replace

MAGIC = 0x616B3432
LEGACY = struct.Struct("<7i")
VERSIONED = struct.Struct("<Ii7iBi")
VERSIONED_SIZE = 256
LARGEST_GROUP = 132104
LARGEST = 2**31 - 1
COUNTS = ("dim", "hidden_dim", "n_layers", "n_heads", "n_kv_heads", "vocab_size", "max_seq_len")


@dataclass(frozen=True)
class Header:
    """version 0 has no magic, flag or group; its vocab_size is negative where there is an own classifier."""

    version: int
    dim: int
    hidden_dim: int
    n_layers: int
    n_heads: int
    n_kv_heads: int
    vocab_size: int
    max_seq_len: int
    flag: int = 0
    group_size: int = 0
    legacy: bool = False

    @property
    def counts(self) -> tuple[int, ...]:
        return tuple(getattr(self, name) for name in COUNTS)

    def encode(self) -> bytes:
        if self.legacy:
            return LEGACY.pack(*self.counts)
        head = VERSIONED.pack(MAGIC, self.version, *self.counts, self.flag, self.group_size)
        return head + bytes(VERSIONED_SIZE - len(head))

    def with_field(self, field: str, value: int) -> Header:
        return replace(self, **{field: value})

    @property
    def tied(self) -> bool:
        return self.vocab_size > 0 if self.legacy else bool(self.flag)


def first_wrong(h: Header) -> str | None:
    """The field that the first broken rule names, in the order of the bytes; None if there is none."""
    return next(_broken(h), None)


def _broken(h: Header) -> Iterator[str]:
    if not h.legacy and h.version not in (1, 2):
        yield "version"
    for field, value in zip(COUNTS, h.counts, strict=True):
        signed = h.legacy and field == "vocab_size"
        if value == 0 or (value < 0 and not signed) or value < -LARGEST:
            yield field
    if h.dim % h.n_heads:
        yield "n_heads"
    if h.dim // h.n_heads % 2:
        yield "head size (dim / n_heads)"
    if h.n_heads % h.n_kv_heads:
        yield "n_kv_heads"
    if h.legacy:
        return
    if h.flag > 1:
        yield "shared_classifier"
    fits = h.group_size == 0 or (h.dim % h.group_size == 0 and h.hidden_dim % h.group_size == 0)
    if not (0 if h.version == 1 else 1) <= h.group_size <= LARGEST_GROUP or not fits:
        yield "group_size"


def size(h: Header) -> int:
    """Bytes of the whole file that a legal header describes, however many they are."""
    vocab, head = abs(h.vocab_size), h.dim // h.n_heads
    kv = head * h.n_kv_heads
    norms = 2 * h.n_layers * h.dim + h.dim
    matrices = h.n_layers * (2 * h.dim * h.dim + 2 * kv * h.dim + 3 * h.hidden_dim * h.dim)
    matrices += vocab * h.dim * (1 if h.tied else 2)
    if h.legacy:
        return LEGACY.size + 4 * (norms + matrices + h.max_seq_len * head)
    if not h.group_size:
        return VERSIONED_SIZE + 4 * (norms + matrices)
    return VERSIONED_SIZE + 4 * norms + matrices + 4 * (matrices // h.group_size)
