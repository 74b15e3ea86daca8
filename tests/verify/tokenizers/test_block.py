"""The tokenizer block, read strictly: what is written comes back, and every rule that is broken is named."""

from __future__ import annotations

import struct
from dataclasses import replace

import pytest
from helpers.rule_blocks import block_of

from verify.tokenizers.block import BlockError, parse_block
from verify.tokenizers.rules import Rules

BYTES = Rules(
    kind="bytes",
    pieces=(b"a", b"b", b"ab", b"\xff", b"<x>", b""),
    merges=((0, 1),),
    added={4: 1},
    pre_tokenizer="qwen2",
    nfc=True,
    bos=4,
    ends=(2, 4),
    template="{{ '\u00e9' }}",
)
CHARACTERS = Rules(
    kind="characters",
    pieces=(b"<unk>", b"a", b"\xe2\x96\x81", b"\xe2\x96\x81a"),
    scores=(0.0, -1.0, -0.5, 2.5),
    prefix=True,
    byte_fallback=True,
    single_spaces=True,
    add_bos=True,
    bos=0,
    unk=0,
    eos=1,
)


@pytest.mark.parametrize("rules", [BYTES, CHARACTERS], ids=["bytes", "characters"])
def test_what_is_written_is_read(rules: Rules) -> None:
    assert parse_block(block_of(rules), len(rules.pieces)) == rules


ONE = Rules(kind="bytes", pieces=(b"a",))


@pytest.mark.parametrize(
    "rules",
    [
        ONE,
        replace(ONE, bos=0, eos=0, ends=(0,), add_bos=True, add_eos=True),
        replace(ONE, template="x" * (1 << 20)),
        # no zeros behind it
        replace(ONE, template="x" * 56),
        replace(BYTES, bos=5, eos=5, ends=(5,), added={0: 31, 4: 16}),
        replace(BYTES, ends=(2, 3), added={3: 1, 4: 1}, pieces=(b"", *BYTES.pieces[1:]), merges=()),
        replace(CHARACTERS, unk=3),
        replace(CHARACTERS, merges=((2, 1),), scores=None),
    ],
    ids=["one", "ids", "template", "whole", "last", "neighbours", "unk", "ranks"],
)
def test_what_is_just_allowed_is_read(rules: Rules) -> None:
    assert parse_block(block_of(rules), len(rules.pieces) + 1) == rules


def test_a_block_has_at_most_as_many_tokens_as_the_model_and_as_the_format(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("verify.tokenizers.block._MOST_TOKENS", 6)
    assert parse_block(block_of(BYTES), 7) == BYTES
    monkeypatch.setattr("verify.tokenizers.block._MOST_TOKENS", 5)
    with pytest.raises(BlockError, match=r"^token_count: expected 1 to 5, found 6$"):
        parse_block(block_of(BYTES), 7)


def test_a_header_alone_is_read_before_its_size_is_compared() -> None:
    header = bytearray(block_of(BYTES)[:64])
    with pytest.raises(BlockError, match=r"^size: expected 192, found 64$"):
        parse_block(bytes(header), 6)
    struct.pack_into("<I", header, 12, 0)
    with pytest.raises(BlockError, match=r"^token_count: expected 1 to 16777216, found 0$"):
        parse_block(bytes(header), 1 << 30)


def test_the_size_follows_from_the_contents() -> None:
    block = block_of(BYTES)
    assert len(block) % 64 == 0
    for other in (block[:-64], block + bytes(64), block[:63]):
        with pytest.raises(BlockError, match=r"^size: expected "):
            parse_block(other, 6)


# offset in BYTES' header, type, value -> the message
_HEADER = {
    (0, "<I", 3): "kind: expected 1 or 2, found 3",
    (4, "<I", 1 << 7): "flags: expected bits of 0x3f for kind 1, found 0x80",
    (4, "<I", 1 << 6): "flags: expected bits of 0x3f for kind 1, found 0x40",
    (4, "<I", 1 << 8): "flags: expected bits of 0x3f for kind 1, found 0x100",
    (4, "<I", 1 << 2): "eos: expected an id, as encoding ends with it, found none",
    (8, "<I", 4): "pre-tokenizer: expected 0 to 3 for kind 1, found 4",
    (12, "<I", 0): "token_count: expected 1 to 6, found 0",
    (12, "<I", 7): "token_count: expected 1 to 6, found 7",
    (24, "<i", -2): "bos: expected -1 to 5, found -2",
    (24, "<i", 6): "bos: expected -1 to 5, found 6",
    (28, "<i", 6): "unk: expected -1 to 5, found 6",
    (28, "<i", 2): "unk: expected -1 for kind 1, found 2",
    (36, "<I", 6): "eos: expected 0 to 5, or none, found 6",
    (40, "<I", (1 << 20) + 1): "template_size: expected at most 1048576, found 1048577",
    (44, "<I", 1): "scored: expected 0 for kind 1 with 1 merges, found 1",
    (48, "<Q", 1 << 60): "size: expected ",
    (48, "<Q", 7): "piece_bytes: expected 8, the last end, found 7",
    (56, "<B", 1): "bytes 56 to 63: expected zeros, found 0100000000000000",
}


@pytest.mark.parametrize(("change", "message"), _HEADER.items(), ids=map(str, _HEADER))
def test_a_header_that_breaks_a_rule_is_named(change: tuple[int, str, int], message: str) -> None:
    block = bytearray(block_of(BYTES))
    offset, kind, value = change
    struct.pack_into(kind, block, offset, value)
    with pytest.raises(BlockError) as error:
        parse_block(bytes(block), 6)
    assert str(error.value).startswith(message)


_CONTENT = {
    "merge 0: expected two parts of a piece, found b'a' and b'a'": {"merges": ((0, 0),)},
    "merge 1: expected a new pair, found b'a' and b'b' again": {"merges": ((0, 1), (0, 1))},
    "merges: expected ids below 6, found a larger one": {"merges": ((0, 6),)},
    "merge 0: expected two parts of a piece, found b'a' and b''": {"merges": ((0, 5),)},
    "merge 0: expected two parts of a piece, found b'' and b'a'": {"merges": ((5, 0),)},
    "bos: expected an id, as encoding begins with it, found none": {"bos": -1, "add_bos": True},
    "added tokens: expected ids below 6, found 6": {"added": {6: 1}},
    "added token 4: expected flags below 32, found 32": {"added": {4: 32}},
    "added token 5: expected a piece, found none": {"added": {5: 1}},
    "piece 3: expected bytes of its own, found those of id 0": {"pieces": (b"a", b"b", b"ab", b"a", b"<x>", b"")},
    "end ids: expected ascending ids below 6, found [4, 2]": {"ends": (4, 2)},
    "end ids: expected ascending ids below 6, found [6]": {"ends": (6,)},
    "end ids: expected ascending ids below 6, found [2, 2]": {"ends": (2, 2)},
    "end ids: expected ascending ids below 6, found [2, 6]": {"ends": (2, 6)},
    "end ids: expected ascending ids below 6, found [6, 5, 4, 3, 2, 1, 0, 6]": {"ends": (6, 5, 4, 3, 2, 1, 0, 6, 7)},
}


@pytest.mark.parametrize(("message", "change"), _CONTENT.items(), ids=list(_CONTENT))
def test_content_that_breaks_a_rule_is_named(message: str, change: dict[str, object]) -> None:
    with pytest.raises(BlockError) as error:
        parse_block(block_of(replace(BYTES, **change)), 6)  # type: ignore[arg-type]
    assert str(error.value) == message


def test_an_added_token_may_have_the_bytes_of_a_piece() -> None:
    rules = replace(BYTES, pieces=(b"a", b"b", b"ab", b"\xff", b"ab", b""))
    assert parse_block(block_of(rules), 6) == rules


def test_scores_are_finite() -> None:
    with pytest.raises(BlockError, match=r"^scores: expected finite numbers, found nan at id 1$"):
        parse_block(block_of(replace(CHARACTERS, scores=(0.0, float("nan"), 0.0, float("inf")))), 4)


@pytest.mark.parametrize("tokens", [(4, 3), (4, 4)])
def test_added_tokens_ascend(tokens: tuple[int, int]) -> None:
    block = bytearray(block_of(replace(BYTES, added={3: 1, 4: 1})))
    at = block.index(struct.pack("<IIII", 3, 1, 4, 1))
    struct.pack_into("<IIII", block, at, tokens[0], 1, tokens[1], 1)
    with pytest.raises(BlockError, match=r"^added tokens: expected ascending ids, found others$"):
        parse_block(bytes(block), 6)


def test_ends_of_pieces_ascend() -> None:
    block = bytearray(block_of(BYTES))
    struct.pack_into("<I", block, 64 + 4, 0)
    struct.pack_into("<I", block, 64 + 12, 1)
    with pytest.raises(
        BlockError, match=r"^ends of pieces: expected ascending numbers, found a smaller one at id 1$"
    ):
        parse_block(bytes(block), 6)


def test_what_stands_between_the_parts_is_zero() -> None:
    odd = replace(BYTES, pieces=(*BYTES.pieces[:4], b"<xy>", b""))
    pieces_end = 64 + 4 * 6 + sum(map(len, odd.pieces))
    for at, name in ((pieces_end, "zeros after pieces"), (-1, "zeros at the end")):
        block = bytearray(block_of(odd))
        block[at] = 1
        with pytest.raises(BlockError, match=f"^{name}: expected zeros, found other bytes$"):
            parse_block(bytes(block), 6)


def test_a_template_is_utf8() -> None:
    block = bytearray(block_of(BYTES))
    block[block.index("\u00e9".encode()) + 1] = ord("x")
    with pytest.raises(BlockError, match=r"^chat template: expected UTF-8, found byte 4 to be none$"):
        parse_block(bytes(block), 6)


def test_characters_have_flags_of_their_own() -> None:
    for flags in (1 << 4, 1 << 8):
        block = bytearray(block_of(CHARACTERS))
        struct.pack_into("<I", block, 4, flags)
        with pytest.raises(BlockError, match=f"^flags: expected bits of 0xef for kind 2, found {flags:#x}$"):
            parse_block(bytes(block), 4)


def test_characters_have_no_regular_expression_and_need_merges_or_scores() -> None:
    block = bytearray(block_of(CHARACTERS))
    struct.pack_into("<I", block, 8, 1)
    with pytest.raises(BlockError, match=r"^pre-tokenizer: expected 0 to 0 for kind 2, found 1$"):
        parse_block(bytes(block), 4)
    with pytest.raises(BlockError, match=r"^scored: expected 1 for kind 2 with 0 merges, found 0$"):
        parse_block(block_of(replace(CHARACTERS, scores=None)), 4)
