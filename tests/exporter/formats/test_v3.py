"""v3's layout: aligned, without overlap, the head in front of it with its digests, and within its limits."""

from __future__ import annotations

import struct
from math import prod

import pytest
from blake3 import blake3
from helpers.models import config
from hypothesis import given
from hypothesis import strategies as st

import exporter
from exporter.config import tensor_shapes
from exporter.formats import v3
from verify.testing import configs

STORAGES = [v3.Stored("fp32"), v3.Stored("fp16"), v3.Stored("bf16")]


@given(
    configs(biases=True, head_sizes=True, scalings=True, activations=True, numbers=True),
    st.lists(st.sampled_from(STORAGES), min_size=1, max_size=5),
    st.sampled_from([64, 512, 4096]),
)
def test_every_part_is_aligned_and_the_extents_fill_the_payload(
    model: exporter.ModelConfig, some: list[v3.Stored], alignment: int
) -> None:
    shapes = tensor_shapes(model)
    stored = {
        name: v3.Stored("q8_0", 1) if len(shape) == 2 and number % 3 == 0 else some[number % len(some)]
        for number, (name, shape) in enumerate(shapes.items())
    }
    plan = v3.plan(model, stored, {"note": "x"}, alignment)
    assert [entry.name for entry in plan.entries] == list(shapes)
    at = 0
    for entry in plan.entries:
        assert (entry.offset, entry.offset % alignment, entry.scale_offset % alignment) == (at, 0, 0)
        assert entry.length == prod(entry.shape) * v3.ELEMENT_BYTES[entry.stored.storage]
        end = entry.offset + entry.length
        if entry.stored.group_size:
            assert entry.scale_length == 4 * prod(entry.shape) // entry.stored.group_size
            assert entry.scale_offset >= end
            end = entry.scale_offset + entry.scale_length
        assert 0 <= entry.extent - (end - at) < alignment
        at += entry.extent
    assert plan.head_size % alignment == 0
    assert plan.size == plan.head_size + at
    for part in plan.parts():
        entry = next(entry for entry in plan.entries if entry.name == part.tensor)
        own = entry.scale_offset if part.part == "scale" else entry.offset
        assert part.offset == plan.head_size + own


def test_the_head_is_as_long_as_planned_and_carries_its_digests() -> None:
    model = config()
    stored = {name: v3.Stored("fp32") for name in tensor_shapes(model)}
    plan = v3.plan(model, stored, {"note": "x"})
    digests = [bytes([number]) * 32 for number in range(len(stored))]
    head = v3.encode_head(plan, digests)
    assert len(head) == plan.head_size
    assert head[:8] == struct.pack("<Ii", 0x616B3432, 3)
    assert head[-32:] == blake3(head[:-32]).digest()
    table = head[256 : 256 + 192 * len(stored)]
    assert [table[at + 160 : at + 192] for at in range(0, len(table), 192)] == digests
    assert head[160:192] == blake3(head[:128] + table).digest()
    with pytest.raises(ValueError, match="shorter"):
        v3.encode_head(plan, digests[1:])


def test_metadata_is_sorted_and_within_its_limits() -> None:
    assert v3.encode_metadata({}) == b""
    assert (
        v3.encode_metadata({"b": "é", "a": ""})
        == struct.pack("<II", 1, 0) + b"a" + struct.pack("<II", 1, 2) + b"b" + "é".encode()
    )
    for metadata, message in (
        ({"A": ""}, "metadata: expected 1 to 64 of a-z, 0-9, . _ -, found 'A'"),
        ({"": ""}, "metadata: expected 1 to 64 of a-z, 0-9, . _ -, found ''"),
        ({"a": "x" * 65537}, "metadata: a: expected at most 65536 bytes, found 65537"),
        (
            {f"k{number}": "" for number in range(257)},
            "metadata: expected at most 256 entries and 1048576 bytes, found 257 and 2974",
        ),
    ):
        with pytest.raises(exporter.FormatError) as caught:
            v3.encode_metadata(metadata)
        assert str(caught.value) == message


@pytest.mark.parametrize(
    ("key", "legal"),
    [
        (b"a", True),
        (b"a.b_c-9", True),
        (b"a" * 64, True),
        (b"a" * 65, False),
        (b"", False),
        (b"A", False),
        (b"a b", False),
        (b"a\n", False),
        ("é".encode(), False),
    ],
)
def test_keys_are_short_and_plain(key: bytes, legal: bool) -> None:
    assert v3.is_key(key) == legal


def test_more_tensors_than_v3_has_room_for_are_refused() -> None:
    model = config(n_layers=7282)
    shapes = tensor_shapes(model)
    with pytest.raises(exporter.FormatError) as caught:
        v3.plan(model, {name: v3.Stored("fp32") for name in shapes}, {})
    assert str(caught.value) == f"v3: expected at most 65536 tensors, found {len(shapes)}"
