"""v3's rules, one broken file each: the C reader and the exporter's own parser refuse it, for the same field."""

from __future__ import annotations

import itertools
import math
import re
import struct
from pathlib import Path
from typing import Any

import pytest
from blake3 import blake3
from helpers.counted import Counted
from helpers.models import checkpoint, config, toy_file
from helpers.v3_files import ENTRY, HEADER, SCALINGS, head_size, healthy, patched, put, refusals

import exporter
import reader_c
from exporter.config import tensor_shapes
from exporter.sources.v3 import read_head

U32, I32, U64, F64 = "<I", "<i", "<Q", "<d"
# two layers: their table fills one block of 64
TABLE = 512 + 64
QUANTIZED, VECTOR, HALF = TABLE, TABLE + ENTRY, TABLE + 2 * ENTRY
TENSORS = 3 + 2 * 16
NORM, OUTPUT = TABLE + (TENSORS - 2) * ENTRY, TABLE + (TENSORS - 1) * ENTRY
METADATA = TABLE + TENSORS * ENTRY


# (rule, field, offset, scaling of the healthy file, changes)
Case = tuple[str, str, int | None, str, list[tuple[int, bytes]]]
COUNTS = ("dim", "hidden_dim", "n_layers", "n_heads", "n_kv_heads", "vocab_size", "max_seq_len")
REALS = {"factor": 72, "low_freq_factor": 80, "high_freq_factor": 88, "beta_fast": 96, "beta_slow": 104}
OF_TYPE = {
    "linear": ("factor",),
    "dynamic": ("factor",),
    "llama3": ("factor", "low_freq_factor", "high_freq_factor"),
    "yarn": ("factor", "beta_fast", "beta_slow", "attention_factor"),
    "longrope": ("attention_factor",),
}
REALS["attention_factor"] = 112

HEADER_CASES: list[Case] = [
    *(
        (f"{field} is at least 1", field, 8 + 4 * i, "none", [put(8 + 4 * i, I32, 0)])
        for i, field in enumerate(COUNTS)
    ),
    *(
        (f"{field} is not negative", field, 8 + 4 * i, "none", [put(8 + 4 * i, I32, -5)])
        for i, field in enumerate(COUNTS)
    ),
    ("kv heads divide heads", "n_kv_heads", 24, "none", [put(24, I32, 4)]),
    ("a head has a size", "head_dim", 36, "none", [put(36, U32, 0)]),
    ("a head's size is even", "head_dim", 36, "none", [put(36, U32, 9)]),
    ("all heads together stay below 2^31", "head_dim", 36, "none", [put(36, U32, 2**30)]),
    ("flags are known", "flags", 40, "none", [put(40, U32, 31)]),
    ("the activation is known", "activation", 44, "none", [put(44, U32, 3)]),
    *(
        (f"{field} is {what}", field, at, "none", [put(at, F64, value)])
        for field, at in (("norm_eps", 48), ("rope_theta", 56))
        for what, value in (("not zero", 0.0), ("not negative", -1.0), ("finite", math.inf), ("a number", math.nan))
    ),
    ("the scaling is known", "rope_scaling type", 64, "none", [put(64, U32, 6)]),
    ("unscaled RoPE has no length", "rope_scaling original_max_positions", 68, "none", [put(68, U32, 1)]),
    *(
        (f"unscaled RoPE has no {field}", f"rope_scaling {field}", at, "none", [put(at, F64, 1.0)])
        for field, at in REALS.items()
    ),
    ("what is not there is not -0 either", "rope_scaling factor", 72, "none", [put(72, F64, -0.0)]),
    ("unscaled RoPE does not truncate", "rope_scaling truncate", 120, "none", [put(120, U32, 1)]),
    *(
        (f"{kind} has a {field}", f"rope_scaling {field}", REALS[field], kind, [put(REALS[field], F64, 0.0)])
        for kind, fields in OF_TYPE.items()
        for field in fields
    ),
    *(
        (f"{kind} has a length", "rope_scaling original_max_positions", 68, kind, [put(68, U32, 0)])
        for kind in ("dynamic", "llama3", "yarn", "longrope")
    ),
    ("linear has no length", "rope_scaling original_max_positions", 68, "linear", [put(68, U32, 7)]),
    ("truncate is 0 or 1", "rope_scaling truncate", 120, "yarn", [put(120, U32, 2)]),
    ("llama3's band is one", "rope_scaling high_freq_factor", 88, "llama3", [put(88, F64, 1.0)]),
    ("longrope has no factor for all pairs", "rope_scaling factor", 72, "longrope", [put(72, F64, 1.0)]),
    ("longrope ends at its length", "max_seq_len", 32, "longrope", [put(68, U32, 32)]),
    *(
        (f"a factor of RoPE is {what}", "RoPE factor", 576 + 4 * i, "longrope", [put(576 + 4 * i, "<f", value)])
        for i, what, value in (
            *((0, "not zero", 0.0), (1, "not negative", -1.0), (4, "finite", math.inf), (2, "a number", math.nan)),
            *((0, "normal", 2.0**-127), (3, "not -0", -0.0)),
        )
    ),
    *(
        (f"byte {at} behind the factors is kept", "RoPE factor padding", at, "longrope", [(at, b"\1")])
        for at in (596, 639)
    ),
    ("dynamic ends at its length", "max_seq_len", 32, "dynamic", [put(68, U32, 32)]),
    ("alignment is at least 64", "alignment", 124, "none", [put(124, U32, 32)]),
    ("alignment is at most 4096", "alignment", 124, "none", [put(124, U32, 8192)]),
    ("alignment is a power of two", "alignment", 124, "none", [put(124, U32, 96)]),
    ("the size is the file's", "file size", None, "none", [put(128, U64, 1)]),
    ("the size is not beyond 2^63", "file size", None, "none", [put(128, U64, 2**64 - 64)]),
    ("the head's size follows", "head size", 136, "none", [put(136, U64, 64)]),
    ("metadata are bounded", "metadata size", 144, "none", [put(144, U32, 2**20 + 1)]),
    ("metadata are few", "metadata count", 148, "none", [put(148, U32, 257)]),
    ("tensors are counted", "tensor count", 152, "none", [put(152, U32, TENSORS - 1)]),
    ("tensors are bounded", "tensor count", 152, "none", [put(152, U32, 2**16 + 1)]),
    ("there are tensors", "tensor count", 152, "none", [put(152, U32, 0)]),
    ("entries have their size", "entry size", 156, "none", [put(156, U32, 256)]),
    *((f"byte {at} is kept", "header padding", at, "none", [(at, b"\1")]) for at in (200, 255)),
]

TABLE_CASES: list[Case] = [
    ("names are the model's", "tensor name", QUANTIZED, "none", [(QUANTIZED, b"x")]),
    ("names stand in order", "tensor name", VECTOR, "none", [(VECTOR + 7, b"1")]),
    ("names end in zeros", "tensor name", QUANTIZED, "none", [(QUANTIZED + 63, b"x")]),
    ("a matrix has two dimensions", "dimensions", QUANTIZED + 64, "none", [put(QUANTIZED + 64, U32, 1)]),
    ("a matrix has no third", "dimensions", QUANTIZED + 64, "none", [put(QUANTIZED + 64, U32, 3)]),
    ("a vector has one dimension", "dimensions", VECTOR + 64, "none", [put(VECTOR + 64, U32, 0)]),
    ("a vector has one", "dimensions", VECTOR + 64, "none", [put(VECTOR + 64, U32, 2)]),
    ("storage is not absent", "storage", HALF + 68, "none", [put(HALF + 68, U32, 0)]),
    ("storage is known", "storage", HALF + 68, "none", [put(HALF + 68, U32, 5)]),
    ("storage is not of tomorrow", "storage", HALF + 68, "none", [put(HALF + 68, U32, 16)]),
    (
        "a vector is not quantized",
        "storage of a vector",
        VECTOR + 68,
        "none",
        [put(VECTOR + 68, U32, 8), put(VECTOR + 104, U32, 12)],
    ),
    *(
        (f"dimension {i} is the model's", "shape", HALF + 72 + 8 * i, "none", [put(HALF + 72 + 8 * i, U64, 7)])
        for i in range(4)
    ),
    ("there is no negative dimension", "shape", HALF + 72, "none", [put(HALF + 72, U64, 2**64 - 1)]),
    ("quantized tensors have groups", "group_size", QUANTIZED + 104, "none", [put(QUANTIZED + 104, U32, 0)]),
    ("groups stay within int32", "group_size", QUANTIZED + 104, "none", [put(QUANTIZED + 104, U32, 132105)]),
    ("groups divide the row", "group_size", QUANTIZED + 104, "none", [put(QUANTIZED + 104, U32, 9)]),
    ("others have none", "group_size", HALF + 104, "none", [put(HALF + 104, U32, 12)]),
    *(
        (f"byte {at} of an entry is kept", "table padding", QUANTIZED + at, "none", [(QUANTIZED + at, b"\1")])
        for at in (108, 111, 144, 159)
    ),
    ("the first offset is 0", "offset", QUANTIZED + 112, "none", [put(QUANTIZED + 112, U64, 64)]),
    ("tensors do not overlap", "offset", VECTOR + 112, "none", [put(VECTOR + 112, U64, 0)]),
    ("tensors leave no hole", "offset", HALF + 112, "none", [put(HALF + 112, U64, 2**20)]),
    ("offsets are not negative", "offset", HALF + 112, "none", [put(HALF + 112, U64, 2**64 - 64)]),
    ("lengths follow", "length", HALF + 120, "none", [put(HALF + 120, U64, 4)]),
    ("scales follow the values", "scale offset", QUANTIZED + 128, "none", [put(QUANTIZED + 128, U64, 0)]),
    ("scales have their length", "scale length", QUANTIZED + 136, "none", [put(QUANTIZED + 136, U64, 4)]),
    ("no scales, no offset", "scale offset", HALF + 128, "none", [put(HALF + 128, U64, 64)]),
    ("no scales, no length", "scale length", HALF + 136, "none", [put(HALF + 136, U64, 4)]),
    *(
        (f"{what} has its length", "length", at + 120, "none", [put(at + 120, U64, 4)])
        for what, at in (("the last norm", NORM), ("the classifier", OUTPUT))
    ),
]

# the healthy file's metadata: sizes 6 and 8 ("a.note", "grüße" is 7 bytes), then "exporter", then "z"
SECOND = METADATA + 8 + 6 + 7
THIRD = SECOND + 8 + 8 + 7
METADATA_CASES: list[Case] = [
    ("keys are not empty", "metadata key size", METADATA, "none", [put(METADATA, U32, 0)]),
    ("keys are short", "metadata key size", METADATA, "none", [put(METADATA, U32, 65)]),
    ("values are bounded", "metadata value size", METADATA + 4, "none", [put(METADATA + 4, U32, 2**16 + 1)]),
    ("values stay within", "metadata size", 144, "none", [put(THIRD + 4, U32, 1)]),
    # the head's digest, which is no UTF-8, would be told as the value if it were looked at
    ("values stay within the head", "metadata size", 144, "none", [put(THIRD + 4, U32, 2**16)]),
    ("all are counted", "metadata size", 144, "none", [put(148, U32, 2)]),
    ("no more are counted", "metadata size", 144, "none", [put(148, U32, 4)]),
    ("keys are plain", "metadata key", METADATA + 8, "none", [(METADATA + 8, b"A")]),
    ("keys ascend", "metadata key", SECOND + 8, "none", [(METADATA + 8, b"f")]),
    (
        "keys are unique",
        "metadata key",
        THIRD + 8,
        "none",
        [
            put(METADATA, U32, 1),
            put(METADATA + 4, U32, 12),
            put(SECOND, U32, 1),
            put(SECOND + 4, U32, 14),
            (SECOND + 8, b"z"),
        ],
    ),
    ("values are UTF-8", "metadata value", METADATA + 14, "none", [(METADATA + 14, b"\xff")]),
    *(
        (f"values are UTF-8: {what}", "metadata value", METADATA + 14, "none", [(METADATA + 14, content)])
        for what, content in {
            "no surrogates": b"\xed\xa0\x80",
            "no long forms of 2": b"\xc0\x80",
            "no long forms of 3": b"\xe0\x80\x80",
            "no long forms of 4": b"\xf0\x80\x80\x80",
            "nothing beyond U+10FFFF": b"\xf4\x90\x80\x80",
            "whole characters": b"\xc3\x41",
            "no fives": b"\xf8\x88\x80\x80\x80",
        }.items()
    ),
    (
        "a key's own beginning comes before it",
        "metadata key",
        SECOND + 8,
        "none",
        # keys "a.note" and then "a.": the sizes move to the value
        [put(SECOND, U32, 2), put(SECOND + 4, U32, 13), (SECOND + 8, b"a.")],
    ),
    ("values are not cut", "metadata value", METADATA + 14, "none", [(METADATA + 20, b"\xc3")]),
]
CASES = HEADER_CASES + TABLE_CASES + METADATA_CASES


def test_there_is_a_file_for_every_rule() -> None:
    assert len({rule for rule, *_ in CASES}) == len(CASES) >= 66


# what Python shows, C has a number for
WORDED = {"metadata key", "metadata value", "storage of a vector"}


def numbers(text: str) -> set[int]:
    """The integers in what a parser says, whichever sign it sees in 64 bits."""
    return {int(digits) % 2**64 for digits in re.findall(r"-?\d+", text)}


@pytest.mark.parametrize(
    ("field", "offset", "scaling", "changes"), [case[1:] for case in CASES], ids=[case[0] for case in CASES]
)
def test_each_broken_rule_is_refused_by_both_parsers_for_its_field(
    tmp_path: Path, field: str, offset: int | None, scaling: str, changes: list[tuple[int, bytes]]
) -> None:
    content = healthy(tmp_path / "healthy.bin", scaling)
    by_c, by_python = refusals(tmp_path / "broken.bin", patched(content, *changes))
    assert (by_c.field, by_c.offset) == (field, offset), str(by_c)
    assert (by_python.field, by_python.offset) == (field, offset), str(by_python)
    if field not in WORDED:
        said = numbers(str(by_python).partition(" expected ")[2])
        assert numbers(by_c.expected) | numbers(by_c.found) <= said, (str(by_c), str(by_python))


# U+D7FF is the last before the surrogates; a key that another begins with
AWKWARD = {"a": "\ud7ff\ue000\U0010ffff\x00", "a.b": "\u0800\U00010000", "ab": "\x7f\x80"}


@pytest.mark.parametrize("scaling", SCALINGS)
@pytest.mark.parametrize("alignment", [64, 128, 4096])
@pytest.mark.parametrize("metadata", [None, {}, AWKWARD])
def test_healthy_files_are_read_by_both(
    tmp_path: Path, scaling: str, alignment: int, metadata: dict[str, str] | None
) -> None:
    path = tmp_path / "healthy.bin"
    healthy(path, scaling, alignment=alignment, metadata=metadata)
    head = read_head(path)
    with reader_c.open(path, check_digests=True) as model:
        assert model.metadata == head.metadata
        assert model.names == tuple(entry.name for entry in head.plan.entries)
        for entry in head.plan.entries:
            how = model.storage(entry.name)
            assert (how.storage, how.group_size, how.shape) == (
                entry.stored.storage,
                entry.stored.group_size,
                entry.shape,
            )
            assert model.spans(entry.name)[0].offset == head.plan.head_size + entry.offset
            assert model.spans(entry.name)[0].offset % alignment == 0
            assert model.spans(entry.name)[-1].offset % alignment == 0
            if how.group_size:
                scales = model.spans(entry.name)[1]
                values = entry.shape[0] * entry.shape[1]
                aligned = -(-(entry.offset + values) // alignment) * alignment
                assert (scales.offset, scales.nbytes) == (head.plan.head_size + aligned, 4 * values // how.group_size)


@pytest.mark.parametrize(
    ("storage", "smallest"), [("source", 0), ({"*tok*": "q8_0"}, 16), ({"*.0.*w2*": "q8_0"}, 10), ("q8_0", 10)]
)
def test_a_files_group_size_is_its_smallest(tmp_path: Path, storage: Any, smallest: int) -> None:
    """Rows of 48 take groups of 16, the ones of 40 then 10: later ones smaller, and after them larger ones again."""
    path = tmp_path / "model.bin"
    exporter.export(checkpoint(config()), path, format="v3", storage=storage, group_size=16)
    with reader_c.open(path) as model:
        assert model.config.group_size == smallest


def test_a_small_head_is_read(tmp_path: Path) -> None:
    path = toy_file(tmp_path, "v3", n_layers=1, tied=True)
    assert head_size(path.read_bytes()) < 4000
    with reader_c.open(path) as model:
        assert len(model.names) == 11


def test_layers_beyond_ten_have_their_names(tmp_path: Path) -> None:
    path = toy_file(tmp_path, "v3", n_layers=12)
    with reader_c.open(path) as model:
        assert "layers.11.ffn_norm.weight" in model.names
    assert exporter.open_checkpoint(path).config.n_layers == 12


def test_the_order_of_table_and_metadata_is_the_only_one(tmp_path: Path) -> None:
    """Metadata that grow move the payload and nothing in the table."""
    short, long = healthy(tmp_path / "a", metadata={}), healthy(tmp_path / "b", metadata={"k": "v" * 500})
    assert short[HEADER:METADATA] == long[HEADER:METADATA]
    assert short[160:192] == long[160:192]
    assert short[head_size(short) :] == long[head_size(long) :]


@pytest.mark.parametrize("at", [160, QUANTIZED + 160, -1], ids=["the model's", "a tensor's", "the head's"])
def test_a_changed_digest_in_the_head_is_told(tmp_path: Path, at: int) -> None:
    content = healthy(tmp_path / "healthy.bin")
    at = at if at > 0 else head_size(content) - 1
    by_c, by_python = refusals(tmp_path / "b", patched(content, (at, bytes([content[at] ^ 1])), resign=False))
    assert by_c.field == by_python.field == "head digest"


def test_a_models_digest_of_another_model_is_told(tmp_path: Path) -> None:
    content = healthy(tmp_path / "healthy.bin")
    changed = bytearray(content)
    changed[160] ^= 1
    size = head_size(content)
    changed[size - 32 : size] = blake3(bytes(changed[: size - 32])).digest()
    by_c, by_python = refusals(tmp_path / "b", bytes(changed))
    assert (by_c.field, by_c.offset) == (by_python.field, by_python.offset) == ("model digest", 160)


def test_a_tensors_digest_is_told_by_its_name(tmp_path: Path) -> None:
    content = healthy(tmp_path / "healthy.bin")
    by_c, by_python = refusals(tmp_path / "b", patched(content, (VECTOR + 160, bytes(32))))
    assert by_c.field == by_python.field == "layers.0.attention_norm.weight: digest"
    assert by_c.offset == by_python.offset == VECTOR + 160


def test_a_name_without_an_end_is_told_up_to_where_it_must_end(tmp_path: Path) -> None:
    by_c, _ = refusals(tmp_path / "b", patched(healthy(tmp_path / "healthy.bin"), (TABLE, b"x" * 64)))
    assert by_c.field == "tensor name"
    assert by_c.found == repr("x" * 63)


FLAGS = ("tied", "qkv_bias", "wo_bias", "mlp_bias")


@pytest.mark.parametrize("said", list(itertools.product([False, True], repeat=len(FLAGS))))
def test_each_flag_is_its_own(tmp_path: Path, said: tuple[bool, ...]) -> None:
    flags = dict(zip(FLAGS, said, strict=True))
    with reader_c.open(toy_file(tmp_path, "v3", **flags)) as model:
        read = model.config
        assert (read.shared_classifier, read.qkv_bias, read.wo_bias, read.mlp_bias) == said
        assert set(model.names) == set(tensor_shapes(config(**flags)))


def test_padding_between_values_and_scales_and_tensors_is_zero(tmp_path: Path) -> None:
    content = healthy(tmp_path / "healthy.bin", alignment=4096)
    head = read_head(tmp_path / "healthy.bin")
    start, first = head.plan.head_size, head.plan.entries[0]
    for at in (
        start + first.length,
        start + first.scale_offset - 1,
        start + first.scale_offset + first.scale_length,
        start + first.extent - 1,
        len(content) - 1,
        start - 33,
    ):
        assert content[at] == 0
        by_c, by_python = refusals(tmp_path / "b", patched(content, (at, b"\7")))
        assert (by_c.field, by_c.offset) == (by_python.field, by_python.offset)
        assert by_c.field == ("head padding" if at < start else "padding")
        assert (by_c.expected, by_c.found) == ("exactly 0", "7")
        assert by_c.offset == at


@pytest.mark.parametrize(
    "value", [0.0, -1.0, math.inf, math.nan, 2.0**-127, 1e300], ids=["0", "-1", "inf", "nan", "subnormal", "beyond"]
)
@pytest.mark.parametrize(("field", "offset"), [("norm_eps", 48), ("rope_theta", 56), ("rope_scaling beta_slow", 104)])
def test_reals_are_normal_numbers_of_float32(tmp_path: Path, field: str, offset: int, value: float) -> None:
    content = healthy(tmp_path / "healthy.bin", "yarn")
    by_c, by_python = refusals(tmp_path / "b", patched(content, put(offset, F64, value)))
    assert (by_c.field, by_c.offset) == (by_python.field, by_python.offset) == (field, offset)


def test_yarn_needs_a_base_with_a_logarithm(tmp_path: Path) -> None:
    content = healthy(tmp_path / "healthy.bin", "yarn")
    by_c, by_python = refusals(tmp_path / "b", patched(content, put(56, F64, 1.0)))
    assert (by_c.field, by_c.offset) == (by_python.field, by_python.offset) == ("rope_theta", 56)


def test_a_head_that_claims_more_than_there_is_is_refused_before_it_is_read(tmp_path: Path) -> None:
    """A thousand layers, consistently: only the file is too short for their table."""
    content = bytearray(healthy(tmp_path / "healthy.bin")[:4096])
    tensors = 3 + 1000 * 16
    head = -(-(512 + 4032 + tensors * ENTRY + 32) // 64) * 64  # 4000 bytes of the layer table, in blocks of 64
    for at, kind, value in (
        (16, I32, 1000),
        (128, U64, 4096),
        (136, U64, head),
        (144, U32, 0),
        (148, U32, 0),
        (152, U32, tensors),
    ):
        content[at : at + struct.calcsize(kind)] = struct.pack(kind, value)
    by_c, by_python = refusals(tmp_path / "b", bytes(content))
    assert by_c.field == by_python.field == "file size"
    assert by_c.expected == f"at least {head}"


@pytest.mark.parametrize(
    ("name", "told"),
    [
        (b"\x1f!~\x7f\x80 mbeddings.weight", "?!~???mbeddings.weight"),
        (b"x" * 64, "x" * 63),
    ],
)
def test_a_wrong_name_is_told_in_letters_that_a_terminal_can_show(tmp_path: Path, name: bytes, told: str) -> None:
    path = tmp_path / "model.bin"
    by_c, _ = refusals(path, patched(healthy(path), (QUANTIZED, name)))
    assert (by_c.expected, by_c.found) == ("'tok_embeddings.weight'", repr(told))


def test_more_tensors_than_a_head_may_have_are_refused_though_the_layers_are_as_many(tmp_path: Path) -> None:
    layers = 10**5
    changes = (put(16, I32, layers), put(152, U32, 3 + 16 * layers))
    path = tmp_path / "model.bin"
    by_c, by_python = refusals(path, patched(healthy(path), *changes))
    assert (by_c.field, by_c.offset) == (by_python.field, by_python.offset) == ("tensor count", 152)
    assert by_c.expected == "at most 65536"


def test_sizes_beyond_64_bits_are_refused(tmp_path: Path) -> None:
    """dim, hidden_dim and the vocabulary at their largest, and a table that says so: no file is that long."""
    content = healthy(tmp_path / "healthy.bin")
    huge = 2**31 - 2
    changes = [
        put(8, I32, huge),
        put(12, I32, huge),
        put(28, I32, huge),
        put(QUANTIZED + 72, U64, huge),
        put(QUANTIZED + 80, U64, huge),
    ]
    changes += [put(QUANTIZED + 104, U32, 2), put(QUANTIZED + 68, U32, 8)]
    by_c, by_python = refusals(tmp_path / "b", patched(content, *changes))
    assert by_c.field == "file size"
    assert by_python.field in ("length", "file size")


def test_bytes_behind_the_last_tensor_are_refused_however_they_are_signed(tmp_path: Path) -> None:
    content = healthy(tmp_path / "healthy.bin") + bytes(64)
    by_c, by_python = refusals(tmp_path / "b", patched(content, put(128, U64, len(content))))
    assert by_c.field == by_python.field == "file size"
    assert by_c.expected == f"exactly {len(content) - 64}"


@pytest.mark.slow
def test_every_bit_of_a_file_is_under_a_digest(tmp_path: Path, counted: Counted) -> None:
    path = tmp_path / "flipped.bin"
    content = small_file(path)
    for bit in range(8 * len(content)):
        flipped = bytearray(content)
        flipped[bit // 8] ^= 1 << bit % 8
        path.write_bytes(flipped)
        with pytest.raises(reader_c.ReaderError):
            reader_c.open(path, check_digests=True)
    counted("bits of a file of v3, each flipped", 8 * len(content), "refused")


def small_file(path: Path) -> bytes:
    from helpers.models import checkpoint, config

    model = config(dim=4, hidden_dim=4, n_layers=1, n_heads=1, n_kv_heads=1, vocab_size=3, max_seq_len=4, tied=True)
    exporter.export(checkpoint(model), path, format="v3", storage="q8_0", group_size=4, overwrite=True)
    return path.read_bytes()


def test_every_truncation_and_every_trailing_byte_is_refused_by_both(tmp_path: Path, counted: Counted) -> None:
    path = tmp_path / "cut.bin"
    content = small_file(path)
    sizes = [*range(28, len(content)), *range(len(content) + 1, len(content) + 66)]
    for size in sizes:
        by_c, by_python = refusals(path, (content + bytes(66))[:size])
        assert by_c.field == by_python.field == "file size"
        assert by_c.expected == (f"exactly {len(content)}" if size >= 256 else "at least 256")
        assert by_c.found.startswith(str(size))
    counted("files of v3, cut off after each byte or longer by some", len(sizes), "refused by both parsers")
