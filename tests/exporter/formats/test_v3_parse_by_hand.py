"""Every rule of v3's head, one broken head each, with the parser's whole message; and each limit from both sides."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from blake3 import blake3
from helpers.v3_files import METADATA, SCALINGS
from helpers.v3_heads import MIXED, Change, broken, encoded, planned, refusal

from exporter.formats.v3_parse import Parser

# With one layer the table of tensors begins at 512 + 64, with longrope another 64 later.
TABLE = 576
ENTRY = 192
TENSORS = 3 + 16
METADATA_AT = TABLE + ENTRY * TENSORS


@pytest.mark.parametrize("scaling", SCALINGS)
@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"metadata": {}, "alignment": 4096},
        {"tokenizer": b"block" * 64, "alignment": 128},
        {"tokenizer": bytes(64), "tied": True, "n_layers": 40},
        {"metadata": {"k" * 64: "v" * 65536}},
        {"max_seq_len": 1, "norm_eps": 2.0**-126, "embedding_scale": 2.0**127 * (2 - 2.0**-23), "score_cap": 1.0},
    ],
    ids=["", "no metadata", "a tokenizer", "forty layers", "the longest metadata", "the least and the largest"],
)
def test_what_was_encoded_is_what_is_parsed(scaling: str, changes: dict[str, object]) -> None:
    plan = planned(scaling, **changes)  # type: ignore[arg-type]
    found = Parser("a file", encoded(plan), plan.size).parse()
    assert found.plan == plan
    assert found.metadata == (METADATA if changes.get("metadata") is None else changes["metadata"])
    assert found.digests == tuple(bytes([number % 256]) * 32 for number in range(len(plan.entries)))


QUANTIZED, VECTOR, HALF = TABLE, TABLE + ENTRY, TABLE + 2 * ENTRY
# The metadata: keys and values of 6 and 7, 8 and 7, 1 and 0 bytes; together 53.
SECOND, THIRD = METADATA_AT + 21, METADATA_AT + 44
CASES: list[tuple[str, Sequence[Change], str]] = [
    ("none", [(124, "<I", 63)], "alignment at 124: expected 64 to 4096, found 63"),
    ("none", [(124, "<I", 4097)], "alignment at 124: expected 64 to 4096, found 4097"),
    ("none", [(124, "<I", 96)], "alignment at 124: expected a power of two up to 4096, found 96"),
    ("none", [(136, "<Q", 64)], "head size at 136: expected 4352, found 64"),
    ("none", [(144, "<I", 2**20 + 1)], "metadata size at 144: expected 0 to 1048576, found 1048577"),
    ("none", [(148, "<I", 257)], "metadata count at 148: expected 0 to 256, found 257"),
    ("none", [(152, "<I", 0)], "tensor count at 152: expected 1 to 65536, found 0"),
    ("none", [(152, "<I", 65537)], "tensor count at 152: expected 1 to 65536, found 65537"),
    ("none", [(152, "<I", 65536)], "tensor count at 152: expected 19, found 65536"),
    ("none", [(152, "<I", 1)], "tensor count at 152: expected 19, found 1"),
    ("none", [(156, "<I", 191)], "entry size at 156: expected 192, found 191"),
    ("none", [(192, "<Q", 65)], "tokenizer size at 192: expected a multiple of 64, found 65"),
    ("none", [(192, "<Q", 2**26)], "head size at 136: expected 67113216, found 4352"),
    ("none", [(192, "<Q", 2**26 + 64)], "tokenizer size at 192: expected at most 67108864, found 67108928"),
    ("none", [(192, "<Q", 2**63)], "tokenizer size at 192: expected at most 67108864, found 9223372036854775808"),
    *(
        ("none", [(at, b"\5")], f"header padding at {at}: expected 0, found 5")  # both ends of each padding
        for at in (200, 255)
    ),
    *(("none", [(at, b"\5")], f"architecture padding at {at}: expected 0, found 5") for at in (360, 511)),
    *(("none", [(at, b"\5\6")], f"layer table padding at {at}: expected 0, found 5") for at in (516, 574)),
    *(("longrope", [(at, b"\5\6")], f"RoPE factor padding at {at}: expected 0, found 5") for at in (596, 638)),
    ("longrope", [(575, b"\5")], "layer table padding at 575: expected 0, found 5"),
    *(("none", [(at, b"\5")], f"head padding at {at}: expected 0, found 5") for at in (METADATA_AT + 53, 4352 - 33)),
    # ---- the table of tensors ----
    (
        "none",
        [(QUANTIZED + 63, b"x")],
        r"tensor name at 576: expected 'tok_embeddings.weight', found 'tok_embeddings.weight" + "\\x00" * 42 + "x'",
    ),
    *(
        (
            scaling,
            [(table + ENTRY + 7, b"7")],
            f"tensor name at {table + ENTRY}: expected "
            "'layers.0.attention_norm.weight', found 'layers.7.attention_norm.weight'",
        )
        for scaling, table in (("none", TABLE), ("longrope", TABLE + 64))
    ),
    (
        "none",
        [(VECTOR + 3, b"\xff")],
        f"tensor name at {VECTOR}: expected 'layers.0.attention_norm.weight', found 'lay�rs.0.attention_norm.weight'",
    ),
    ("none", [(HALF + 64, "<I", 2**24 + 2)], f"dimensions at {HALF + 64}: expected 2, found 16777218"),
    ("none", [(VECTOR + 64, "<I", 2)], f"dimensions at {VECTOR + 64}: expected 1, found 2"),
    *(
        (
            "none",
            [(QUANTIZED + 72 + 8 * axis, "<Q", value)],
            f"shape at {QUANTIZED + 72 + 8 * axis}: expected {expected}, found {value}",
        )
        for axis, expected in enumerate((29, 48, 0, 0))
        for value in (7, 2**56 + expected)
    ),
    ("none", [(HALF + 68, "<I", 0)], f"storage at {HALF + 68}: expected 1 to 8, found 0"),
    ("none", [(HALF + 68, "<I", 9)], f"storage at {HALF + 68}: expected 1 to 8, found 9"),
    ("none", [(HALF + 68, "<I", 5)], f"storage at {HALF + 68}: expected one of [1, 2, 3, 8], found 5"),
    (
        "none",
        [(VECTOR + 68, "<I", 8), (VECTOR + 104, "<I", 12)],
        f"storage of a vector at {VECTOR + 68}: expected one number an element, found q8_0",
    ),
    ("none", [(QUANTIZED + 104, "<I", 0)], f"group_size at {QUANTIZED + 104}: expected 1 to 132104, found 0"),
    (
        "none",
        [(QUANTIZED + 104, "<I", 132105)],
        f"group_size at {QUANTIZED + 104}: expected 1 to 132104, found 132105",
    ),
    (
        "none",
        [(QUANTIZED + 104, "<I", 132104)],
        f"group_size at {QUANTIZED + 104}: expected a divisor of the row's 48, found 132104",
    ),
    (
        "none",
        [(QUANTIZED + 104, "<I", 29)],
        f"group_size at {QUANTIZED + 104}: expected a divisor of the row's 48, found 29",
    ),
    ("none", [(HALF + 104, "<I", 12)], f"group_size at {HALF + 104}: expected 0, found 12"),
    *(
        ("none", [(VECTOR + at, b"\5\6")], f"table padding at {VECTOR + at}: expected 0, found 5")
        for at in (108, 110, 144, 158)
    ),
    *(("none", [(VECTOR + at, b"\5")], f"table padding at {VECTOR + at}: expected 0, found 5") for at in (111, 159)),
    *(
        (
            "none",
            [(QUANTIZED + at, "<Q", expected ^ flip)],
            f"{field} at {QUANTIZED + at}: expected {expected}, found {expected ^ flip}",
        )
        for field, at, expected in (
            ("offset", 112, 0),
            ("length", 120, 1392),
            ("scale offset", 128, 1408),
            ("scale length", 136, 464),
        )
        for flip in (1, 2**56)
    ),
    # ---- metadata ----
    ("none", [(METADATA_AT, "<I", 0)], f"metadata key size at {METADATA_AT}: expected 1 to 64, found 0"),
    ("none", [(METADATA_AT, "<I", 65)], f"metadata key size at {METADATA_AT}: expected 1 to 64, found 65"),
    (
        "none",
        [(METADATA_AT + 4, "<I", 65537)],
        f"metadata value size at {METADATA_AT + 4}: expected 0 to 65536, found 65537",
    ),
    ("none", [(METADATA_AT + 4, "<I", 65536)], "metadata size at 144: expected at least 65550, found 53"),
    ("none", [(THIRD + 4, "<I", 1)], "metadata size at 144: expected at least 54, found 53"),
    ("none", [(148, "<I", 2)], "metadata size at 144: expected 44, found 53"),
    ("none", [(148, "<I", 4)], "metadata size at 144: expected at least 61, found 53"),
    ("none", [(144, "<I", 52)], "metadata size at 144: expected at least 53, found 52"),
    # what is left is just the two sizes, and one byte less
    ("none", [(144, "<I", 44 + 8)], "metadata size at 144: expected at least 53, found 52"),
    ("none", [(144, "<I", 44 + 7)], "metadata size at 144: expected at least 52, found 51"),
    ("none", [(144, "<I", 54)], "metadata size at 144: expected 53, found 54"),
    # fewer bytes left than the key and the value have together, and more than their difference
    ("none", [(144, "<I", 43)], "metadata size at 144: expected at least 44, found 43"),
    (
        "none",
        [(METADATA_AT + 8, b"A")],
        f"metadata key at {METADATA_AT + 8}: expected a-z, 0-9 and . _ -, found b'A.note'",
    ),
    (
        "none",
        [(METADATA_AT + 14, b"\xff")],
        f"metadata value at {METADATA_AT + 14}: expected UTF-8, found invalid start byte",
    ),
    (
        "none",
        [(METADATA_AT + 8, b"f")],
        f"metadata key at {SECOND + 8}: expected more than b'f.note', found b'exporter'",
    ),
    # twice the same key, of one byte
    (
        "none",
        [(SECOND, "<I", 1), (SECOND + 4, "<I", 14), (SECOND + 8, b"z")],
        f"metadata key at {THIRD + 8}: expected more than b'z', found b'z'",
    ),
]


@pytest.mark.parametrize(("scaling", "changes", "message"), CASES)
def test_a_broken_rule_is_named_at_its_place(scaling: str, changes: Sequence[Change], message: str) -> None:
    plan = planned(scaling)
    assert refusal(broken(plan, *changes), plan.size) == message


def test_the_file_s_size_follows() -> None:
    plan = planned(metadata={})
    assert plan.head_size % 256
    head = encoded(plan)
    assert refusal(head[:511], 511) == "file size: expected at least 512, found 511"
    assert refusal(head[:512], 512) == f"file size: expected exactly {plan.size}, found 512"
    assert refusal(head, plan.size - 1) == f"file size: expected exactly {plan.size}, found {plan.size - 1}"
    for size in (plan.size + 1, plan.size - 1, plan.size + 2**56, plan.head_size):
        said = f"file size at 128: expected {plan.size}, found {size}"
        assert refusal(broken(plan, (128, "<Q", size)), size) == said
    small = plan.head_size - 1
    said = f"file size: expected at least {plan.head_size}, found {small}"
    assert refusal(broken(plan, (128, "<Q", small)), small) == said


def test_a_file_that_lacks_more_than_padding_has_the_wrong_size() -> None:
    """Up to 65,536 tensors times the largest alignment, the field that differs says more."""
    plan = planned(vocab_size=2 * 10**6)
    size = plan.size - 2**16 * 4096
    assert refusal(broken(plan, (128, "<Q", size)), size) == f"file size at 128: expected {plan.size}, found {size}"
    said = f"file size: expected exactly {plan.size}, found {size - 1}"
    assert refusal(broken(plan, (128, "<Q", size - 1)), size - 1) == said


def test_without_metadata_the_padding_begins_where_the_table_ends() -> None:
    plan = planned(metadata={})
    said = f"head padding at {METADATA_AT}: expected 0, found 5"
    assert refusal(broken(plan, (METADATA_AT, b"\5\6")), plan.size) == said


def test_digests_are_compared_last() -> None:
    plan = planned()
    head = encoded(plan)
    end = len(head) - 32
    flipped = head[:end] + bytes([head[end] ^ 1]) + head[end + 1 :]
    own = blake3(head[:end]).hexdigest()
    said = f"head digest at {end}: expected {own}, as the bytes have it, found {flipped[end:].hex()}"
    assert refusal(flipped, plan.size) == said
    other = head[:160] + bytes(32) + head[192:end]
    said = f"model digest at 160: expected {head[160:192].hex()}, as the bytes have it, found {'00' * 32}"
    assert refusal(other + blake3(other).digest(), plan.size) == said


def test_experts_of_a_layer_are_stored_alike_and_routers_are_not_quantized() -> None:
    plan = planned(**MIXED)  # type: ignore[arg-type]
    assert Parser("a file", encoded(plan), plan.size).parse().plan == plan
    places = {entry.name: TABLE + ENTRY * number for number, entry in enumerate(plan.entries)}
    router = places["layers.0.feed_forward.router.weight"]
    first, last = (places[f"layers.0.feed_forward.experts.{expert}.w3.weight"] for expert in (0, 2))
    cases: list[tuple[Sequence[Change], str]] = [
        (
            [(router + 68, "<I", 8), (router + 104, "<I", 16)],
            f"storage of a router at {router + 68}: expected one number an element, found q8_0",
        ),
        ([(last + 68, "<I", 3)], f"storage of an expert at {last + 68}: expected fp32, as expert 0 has, found bf16"),
        (
            [
                *(
                    (at + offset, "<I", value)
                    for at in (first, first + 3 * ENTRY, last)
                    for offset, value in ((68, 8), (104, 16))
                ),
                (last + 104, "<I", 12),
            ],
            f"group_size of an expert at {last + 104}: expected 16, as expert 0 has, found 12",
        ),
    ]
    for changes, message in cases:
        assert refusal(broken(plan, *changes), plan.size) == message
