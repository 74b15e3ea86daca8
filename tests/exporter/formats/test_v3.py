"""v3's layout: aligned, without overlap, the head in front of it with its digests, and within its limits."""

from __future__ import annotations

import struct
from math import prod

import pytest
from blake3 import blake3
from helpers.models import config
from helpers.v3_files import SCALINGS
from hypothesis import given
from hypothesis import strategies as st

import exporter
from exporter.config import tensor_shapes
from exporter.formats import v3
from verify.testing import configs

# Two layers: the table of tensors begins at 512 + 64.
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
    table = head[576 : 576 + 192 * len(stored)]
    assert [table[at + 160 : at + 192] for at in range(0, len(table), 192)] == digests
    assert head[160:192] == blake3(head[:128] + head[256:576] + table).digest()
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


def of_limit(value: int) -> dict[str, str]:
    """Metadata that is encoded in so many bytes: each entry has two sizes of 4 bytes, a key of one, and its value."""
    whole, rest = divmod(value, 9 + 65536)
    lengths = [65536] * whole + [rest - 9]
    return {chr(ord("a") + number): "x" * length for number, length in enumerate(lengths)}


def test_metadata_may_reach_each_limit() -> None:
    assert v3.encode_metadata({f"k{number:03}": "" for number in range(256)}).count(b"k") == 256
    assert len(v3.encode_metadata({"a": "x" * 65536})) == 8 + 1 + 65536
    assert len(v3.encode_metadata(of_limit(1 << 20))) == 1 << 20
    with pytest.raises(exporter.FormatError) as caught:
        v3.encode_metadata(of_limit((1 << 20) + 1))
    assert str(caught.value).endswith("expected at most 256 entries and 1048576 bytes, found 16 and 1048577")


def test_a_model_may_have_as_many_tensors_as_there_is_room_for(monkeypatch: pytest.MonkeyPatch) -> None:
    shapes = tensor_shapes(config())
    stored = dict.fromkeys(shapes, v3.Stored("fp32"))
    monkeypatch.setattr(v3, "MOST_TENSORS", len(shapes))
    assert len(v3.plan(config(), stored, {}).entries) == len(shapes)
    monkeypatch.setattr(v3, "MOST_TENSORS", len(shapes) - 1)
    with pytest.raises(exporter.FormatError, match=f"at most {len(shapes) - 1} tensors, found {len(shapes)}$"):
        v3.plan(config(), stored, {})


FLAGS = [("tied", 1), ("qkv_bias", 2), ("wo_bias", 4), ("mlp_bias", 8)]


def head_of(model: exporter.ModelConfig, storage: v3.Stored, alignment: int) -> tuple[v3.Plan, bytes]:
    stored = {name: storage if len(shape) == 2 else v3.Stored("fp32") for name, shape in tensor_shapes(model).items()}
    plan = v3.plan(model, stored, {"note": "x"}, alignment)
    return plan, v3.encode_head(plan, [bytes([number]) * 32 for number in range(len(stored))])


@pytest.mark.parametrize(("flag", "bit"), FLAGS)
@pytest.mark.parametrize("scaling", SCALINGS)
def test_every_field_of_the_header_stands_at_its_place(flag: str, bit: int, scaling: str) -> None:
    """By the offsets of docs/format-v3.md."""
    s = SCALINGS[scaling]
    model = config(**{flag: True}, head_dim=10, rope_scaling=s, rope_theta=5e5, norm_eps=1e-6, activation="gelu")
    plan, head = head_of(model, v3.Stored("fp32"), 128)
    assert struct.unpack_from("<Ii7i", head, 0) == (0x616B3432, 3, 48, 40, 2, 6, 3, 29, 33)
    assert struct.unpack_from("<3I2d2I", head, 36) == (
        *(10, bit, 1, 1e-6, 5e5),
        *(["none", "linear", "dynamic", "llama3", "yarn", "longrope"].index(scaling), s.original_max_positions),
    )
    floats = (s.factor, s.low_freq_factor, s.high_freq_factor, s.beta_fast, s.beta_slow, s.attention_factor)
    assert struct.unpack_from("<6d2I", head, 72) == (*floats, int(s.truncate), 128)
    assert struct.unpack_from("<Q", head, 136) == (plan.head_size,)
    assert struct.unpack_from("<2Q4I", head, 128) == (plan.size, plan.head_size, 13, 1, len(plan.entries), 192)
    assert head[192:256] == bytes(64)
    factors = struct.pack(f"<{len(s.short_factors)}f", *s.short_factors)
    assert head[576 : v3.table_at(2, len(s.short_factors))] == factors.ljust(64 if factors else 0, b"\0")
    assert head[v3.table_at(2, len(s.short_factors)) :].startswith(b"tok_embeddings.weight\0")


@pytest.mark.parametrize(
    ("storage", "number", "each", "group"),
    [("fp32", 1, 4, 0), ("fp16", 2, 2, 0), ("bf16", 3, 2, 0), ("q8_0", 8, 1, 8)],
)
def test_every_field_of_a_row_of_the_table_stands_at_its_place(
    storage: str, number: int, each: int, group: int
) -> None:
    plan, head = head_of(config(), v3.Stored(storage, group), 64)
    at = 0
    for row, (name, shape) in enumerate(tensor_shapes(config()).items()):
        is_matrix = len(shape) == 2
        length = prod(shape) * (each if is_matrix else 4)
        scales = prod(shape) // group * 4 if group and is_matrix else 0
        scale_offset = at + (length + 63) // 64 * 64 if scales else 0
        assert struct.unpack_from("<64s2I4Q2I4Q16x32s", head, 576 + 192 * row) == (
            *(name.encode().ljust(64, b"\0"), len(shape), number if is_matrix else 1),
            *(*shape, *[0] * (4 - len(shape))),
            *(group if is_matrix else 0, 0, at, length, scale_offset, scales, bytes([row]) * 32),
        )
        at = ((scale_offset + scales if scales else at + length) + 63) // 64 * 64
    assert plan.size == plan.head_size + at
    parts = [part.part for part in plan.parts() if part.tensor == "output.weight"]
    assert parts == (["int8", "scale"] if group else [storage])
    assert {part.part for part in plan.parts() if part.tensor == "norm.weight"} == {"fp32"}
    assert all(type(size) is int for part in plan.parts() for size in (*part.shape, part.offset, part.nbytes))
    scales_of = {part.tensor: part.shape for part in plan.parts() if part.part == "scale"}
    assert scales_of == {n: (s[0], s[1] // 8) for n, s in tensor_shapes(config()).items() if group and len(s) == 2}


def test_a_storage_without_groups_is_the_default() -> None:
    assert v3.Stored("fp32") == v3.Stored("fp32", 0)
    assert v3.plan(config(), dict.fromkeys(tensor_shapes(config()), v3.Stored("fp32")), {}).alignment == 64


def test_a_tokenizer_fills_whole_blocks_up_to_its_limit() -> None:
    stored = dict.fromkeys(tensor_shapes(config()), v3.Stored("fp32"))
    without = v3.plan(config(), stored, {})
    for size in (64, 1 << 26):
        plan = v3.plan(config(), stored, {}, tokenizer=bytes(size))
        assert (plan.head_size, plan.size) == (without.head_size + size, without.size + size)
    for size in (1, 63, 65, (1 << 26) + 64):
        with pytest.raises(exporter.FormatError) as caught:
            v3.plan(config(), stored, {}, tokenizer=bytes(size))
        assert str(caught.value) == (f"tokenizer: expected a multiple of 64 bytes, at most 67108864, found {size}")
