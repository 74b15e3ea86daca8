"""A tokenizer block: what is refused and why; and what encoding and decoding promise."""

from __future__ import annotations

import dataclasses
import random
import struct
import time
import unicodedata

import pytest
from helpers import tokenizer_blocks as blocks
from helpers.tokenizer_blocks import Block
from hypothesis import given
from hypothesis import strategies as st

import reader_c

BYTES = [bytes([byte]) for byte in range(256)]
# every part of a block: pieces that need padding, an id without a piece, merges, added tokens, a template
SMALL = Block(
    kind=1,
    flags=blocks.BEGINS | blocks.ENDS,
    pretokenizer=blocks.GPT2,
    pieces=[b"a", b"b", b"ab", b"", b"<s>", b"</s>"],
    merges=[(0, 1)],
    added=[(4, blocks.SPECIAL), (5, blocks.SPECIAL)],
    bos=4,
    eos=5,
    eos_ids=[4, 5],
    template=b"{{ m }}",
)
SCORED = Block(
    kind=2, flags=blocks.PREFIX, pieces=[b"a", b"b", b"ab", "\u2581".encode()], scores=[0.0, 0.0, -1.0, 0.0]
)
MERGES_AT, ADDED_AT, EOS_AT, TEMPLATE_AT, END = 100, 108, 124, 132, 139
VOCAB_SIZE = 8


def opened(content: bytes, vocab_size: int = VOCAB_SIZE) -> reader_c.Tokenizer:
    return reader_c.Tokenizer.from_block(content, vocab_size)


def bent(at: int, new: bytes, block: Block = SMALL) -> bytes:
    content = bytearray(block.content())
    content[at : at + len(new)] = new
    return bytes(content)


def u32(at: int, number: int, block: Block = SMALL) -> bytes:
    return bent(at, struct.pack("<I", number & 0xFFFFFFFF), block)


def with_(**changes: object) -> bytes:
    return dataclasses.replace(SMALL, **changes).content()  # type: ignore[arg-type]


def test_the_block_by_hand_is_laid_out_as_these_tests_assume() -> None:
    content = SMALL.content()
    assert len(content) == 192
    assert content[MERGES_AT:ADDED_AT] == struct.pack("<2I", 0, 1)
    assert content[ADDED_AT:EOS_AT] == struct.pack("<4I", 4, 1, 5, 1)
    assert content[EOS_AT:TEMPLATE_AT] == struct.pack("<2I", 4, 5)
    assert content[TEMPLATE_AT:END] == b"{{ m }}"
    assert opened(content).encode("abab") == [4, 2, 2, 5]


BIG = 1 << 31
# each rule of the block, with the message that says which one it breaks
BROKEN = {
    "empty": (b"", "tokenizer size: expected at least 64, found 0"),
    "half a head": (SMALL.content()[:63], "tokenizer size: expected at least 64, found 63"),
    "kind 0": (u32(0, 0), "tokenizer kind at 0: expected at least 1, found 0"),
    "kind 3": (u32(0, 3), "tokenizer kind at 0: expected at most 2, found 3"),
    "an unknown flag": (u32(4, 256), "tokenizer flags at 4: expected only bits of 63, found 256"),
    "an unknown flag of characters": (
        u32(4, 256, SCORED),
        "tokenizer flags at 4: expected only bits of 239, found 256",
    ),
    "single spaces of bytes": (u32(4, 128), "tokenizer flags at 4: expected only bits of 63, found 128"),
    "byte pieces of bytes": (u32(4, 64), "tokenizer flags at 4: expected only bits of 63, found 64"),
    "digits of characters": (u32(4, 16, SCORED), "tokenizer flags at 4: expected only bits of 239, found 16"),
    "an unknown pre-tokenizer": (u32(8, 4), "pre-tokenizer at 8: expected at most 3, found 4"),
    "a pre-tokenizer of characters": (u32(8, 1, SCORED), "pre-tokenizer at 8: expected at most 0, found 1"),
    "no tokens": (u32(12, 0), "token_count at 12: expected at least 1, found 0"),
    "more tokens than the model has": (u32(12, 9), "token_count at 12: expected at most 8, found 9"),
    "more merges than bytes": (u32(16, 25), "merge_count at 16: expected at most 24, found 25"),
    "more added tokens than tokens": (u32(20, 7), "added_count at 20: expected at most 6, found 7"),
    "bos of no token": (u32(24, 6), "bos at 24: expected at most 5, found 6"),
    "bos below none": (u32(24, -2), "bos at 24: expected at least 0, found -2"),
    "no bos to begin with": (u32(24, -1), "bos at 24: expected at least 0, found -1"),
    "unk of no token": (u32(28, 6), "unk at 28: expected at most 5, found 6"),
    "unk of bytes": (u32(28, 3), "unk at 28: expected exactly -1, found 3"),
    "unk below none": (u32(28, -2), "unk at 28: expected at least -1, found -2"),
    "more eos ids than tokens": (u32(32, 7), "eos_count at 32: expected at most 6, found 7"),
    "eos of no token": (u32(36, 6), "eos at 36: expected at most 5, found 6"),
    "eos below none": (u32(36, -7), "eos at 36: expected at least 0, found -7"),
    "no eos to end with": (u32(36, -1), "eos at 36: expected at least 0, found -1"),
    "a long template": (u32(40, (1 << 20) + 1), "template_size at 40: expected at most 1048576, found 1048577"),
    "scores and merges": (
        u32(44, 1, Block(kind=2, pieces=[b"a", b"aa"], merges=[(0, 0)])),
        "scored at 44: expected at most 0, found 1",
    ),
    "scored bytes": (u32(44, 1), "scored at 44: expected at most 0, found 1"),
    "neither scores nor merges": (
        Block(kind=2, pieces=[b"a"]).content(),
        "scored at 44: expected at least 1, found 0",
    ),
    "scored twice": (u32(44, 2, SCORED), "scored at 44: expected at most 1, found 2"),
    "more bytes than the block": (
        bent(48, struct.pack("<Q", 193)),
        "piece_bytes at 48: expected at most 192, found 193",
    ),
    "very many bytes": (bent(48, struct.pack("<q", -1)), "piece_bytes at 48: expected at most 192, found -1"),
    "reserved": (bent(63, b"\1"), "reserved at 56: expected exactly 0, found 72057594037927936"),
    "a block too short": (SMALL.content()[:128], "tokenizer size: expected what its counts take, 192, found 128"),
    "a block too long": (
        SMALL.content() + bytes(64),
        "tokenizer size: expected what its counts take, 192, found 256",
    ),
    "an end before its beginning": (u32(68, 0), "end of a piece at 68: expected at least 1, found 0"),
    "an end behind all": (u32(64, 12), "end of a piece at 64: expected at most piece_bytes = 11, found 12"),
    "a huge end": (u32(64, BIG), "end of a piece at 64: expected at most piece_bytes = 11, found 2147483648"),
    "bytes of no piece": (u32(84, 10), "end of the last piece at 84: expected exactly piece_bytes = 11, found 10"),
    "padding of pieces": (bent(99, b"\1"), "padding of pieces at 99: expected exactly 0, found 1"),
    "a score without end": (
        bent(92, struct.pack("<f", float("inf")), SCORED),
        "score at 92: expected a finite number, found inf",
    ),
    "no score": (
        bent(92, struct.pack("<f", float("nan")), SCORED),
        "score at 92: expected a finite number, found nan",
    ),
    "left of no token": (u32(100, 6), "left token of a merge at 100: expected at most 5, found 6"),
    "right of no token": (u32(104, BIG), "right token of a merge at 104: expected at most 5, found 2147483648"),
    "a merge into no piece": (
        u32(104, 0),
        "merge at 100: expected two pieces whose bytes together are a piece, found others",
    ),
    "a merge of nothing": (
        bent(100, struct.pack("<2I", 3, 3)),
        "merge at 100: expected two pieces whose bytes together are a piece, found others",
    ),
    "a merge with nothing": (
        bent(100, struct.pack("<2I", 3, 2)),
        "merge at 100: expected two pieces whose bytes together are a piece, found others",
    ),
    "a merge twice": (
        with_(pieces=[b"a", b"b", b"ab", b"", b"<s>", b"abb"], merges=[(0, 1), (2, 1), (0, 1)]),
        "merge of these tokens at 116: expected only 0, found 2",
    ),
    "added tokens in disorder": (u32(108, 5), "added token at 116: expected at least 6, found 5"),
    "an added token twice": (u32(116, 4), "added token at 116: expected at least 5, found 4"),
    "an added token that is none": (u32(116, 6), "added token at 116: expected at most 5, found 6"),
    "an unknown flag of an added token": (
        u32(112, 32),
        "flags of an added token at 112: expected at most 31, found 32",
    ),
    "eos ids in disorder": (u32(124, 5), "eos id at 128: expected at least 6, found 5"),
    "an eos id that is none": (u32(128, 6), "eos id at 128: expected at most 5, found 6"),
    "a template of bytes": (bent(134, b"\xff"), "chat template at 134: expected UTF-8, found another byte"),
    "a template that ends early": (bent(138, b"\xe2"), "chat template at 138: expected UTF-8, found another byte"),
    "padding": (bent(139, b"\1"), "padding of the tokenizer at 139: expected exactly 0, found 1"),
    "more padding": (bent(191, b"\1"), "padding of the tokenizer at 191: expected exactly 0, found 1"),
    "the same piece twice": (
        with_(pieces=[b"a", b"b", b"ab", b"b", b"<s>", b"</s>"]),
        "token with this piece at 92: expected only 1, found 3",
    ),
}


@pytest.mark.parametrize("name", BROKEN)
def test_each_rule_refuses_a_block_by_name(name: str) -> None:
    content, message = BROKEN[name]
    with pytest.raises(reader_c.InvalidFileError) as refused:
        opened(content)
    assert str(refused.value) == f"tokenizer block: {message}"


@pytest.mark.parametrize(
    ("vocab_size", "message"),
    [(0, "at least 1, found 0"), (-5, "at least 1, found -1"), (True, "an integer, found True")],
)
def test_a_model_without_tokens_has_no_block(vocab_size: int, message: str) -> None:
    with pytest.raises(reader_c.ArgumentError) as refused:
        opened(SMALL.content(), vocab_size)
    assert str(refused.value) == f"tokenizer block: vocab_size: expected {message}"


def test_every_prefix_is_refused_and_any_byte_may_change() -> None:
    """Refused or taken; what is taken encodes and decodes. The sanitizer builds run this, too."""
    for block in (SMALL, SCORED):
        content = block.content()
        for size in range(len(content)):
            with pytest.raises(reader_c.InvalidFileError):
                opened(content[:size])
        for at in range(len(content)):
            for new in (0, 1, 2, 5, 0x7F, 0x80, 0xFF):
                try:
                    tokenizer = opened(bent(at, bytes([new]), block))
                except reader_c.InvalidFileError:
                    continue
                ids = tokenizer.encode("ab <s>\u2581\xff ab", bos=False)
                assert all(0 <= token < tokenizer.token_count for token in ids)
                tokenizer.decode(ids)


def test_a_tokenizer_says_what_its_block_says() -> None:
    tokenizer = opened(SMALL.content())
    assert (tokenizer.bos, tokenizer.eos, tokenizer.eos_ids) == (4, 5, (4, 5))
    assert (tokenizer.token_count, tokenizer.vocab_size, tokenizer.chat_template) == (6, 8, "{{ m }}")
    assert repr(tokenizer) == "Tokenizer('tokenizer block', 8)"
    assert tokenizer.encode("ab") == [4, 2, 5]
    assert tokenizer.encode("ab", bos=False, eos=False) == [2]
    nothing = opened(Block(pieces=[b"a"]).content())
    assert (nothing.bos, nothing.eos, nothing.eos_ids, nothing.chat_template) == (None, None, (), "")
    assert nothing.encode("a") == [0]
    assert nothing.encode("") == []


@pytest.mark.parametrize("name", ["bos", "eos"])
def test_a_token_that_a_block_does_not_have_is_not_put_before_or_behind(name: str) -> None:
    tokenizer = opened(Block(pieces=[b"a"]).content())
    with pytest.raises(reader_c.ArgumentError) as refused:
        tokenizer.encode("a", **{name: True})
    assert (
        str(refused.value)
        == f"tokenizer block: {name}: expected a tokenizer that has one, which is at least 0, found -1"
    )


def test_ids_that_only_the_model_has_are_without_text() -> None:
    tokenizer = opened(SMALL.content())
    assert tokenizer.decode([0, 6, 7, 3, 1]) == b"ab"
    with pytest.raises(reader_c.ArgumentError, match="expected 0 to 7, found 8"):
        tokenizer.decode([8])


def test_special_tokens_are_found_or_not_and_shown_or_not() -> None:
    pieces = [*BYTES, b"<s>", b"</s>", b"[x]"]
    added = [(256, blocks.SPECIAL), (257, blocks.SPECIAL), (258, 0)]
    tokenizer = opened(Block(pieces=pieces, added=added, bos=256).content(), 259)
    text = "a<s>b[x]"
    assert tokenizer.encode(text) == [97, 256, 98, 258]
    # a text of somebody else can spell no special token; others are found all the same
    assert tokenizer.encode(text, special=False) == [97, *b"<s>", 98, 258]
    assert tokenizer.decode([97, 256, 98, 258]) == b"a<s>b[x]"
    assert tokenizer.decode([97, 256, 98, 258], special=False) == b"ab[x]"
    # SentencePiece's, which a text cannot spell
    control = opened(Block(pieces=[*BYTES, b"<s>"], bos=256).content(), 257)
    assert control.encode("<s>") == [*b"<s>"]
    assert control.decode([256, 97], special=False) == b"a"


def test_an_added_token_within_another_one_is_found_where_the_other_is_not() -> None:
    pieces = [*BYTES, b"bc", b"abcX", b"bcXYZ"]
    tokenizer = opened(Block(pieces=pieces, added=[(256, 1), (257, 1), (258, 1)]).content(), 259)
    assert tokenizer.encode("zbcXabcXYZbcXYZabcbcXY") == [
        *[ord("z"), 256, ord("X"), 257, ord("Y"), ord("Z"), 258, ord("a"), 256, 256, ord("X"), ord("Y")]
    ]


ALL_BYTES = Block(pieces=[*BYTES, b"ab", b" a", b"\xc3\xa9"], merges=[(97, 98), (32, 97), (0xC3, 0xA9)])


@given(
    st.binary(max_size=60),
    st.sampled_from([blocks.NO_SPLIT, blocks.GPT2, blocks.LLAMA3, blocks.QWEN2]),
    st.booleans(),
)
def test_every_byte_comes_back_where_all_bytes_have_pieces(text: bytes, pretokenizer: int, digits: bool) -> None:
    block = dataclasses.replace(ALL_BYTES, pretokenizer=pretokenizer, flags=blocks.DIGITS * digits)
    tokenizer = opened(block.content(), 259)
    assert tokenizer.decode(tokenizer.encode(text)) == text


@given(st.lists(st.one_of(st.text(max_size=20).map(str.encode), st.binary(max_size=4)), max_size=4).map(b"".join))
def test_nfc_composes_characters_and_keeps_other_bytes(text: bytes) -> None:
    tokenizer = opened(dataclasses.replace(ALL_BYTES, flags=blocks.NFC).content(), 259)
    # characters of Unicode 10 and later, which the library's NFC does not know, are rare among drawn ones
    parts = text.decode("utf-8", "surrogateescape")
    if all(unicodedata.category(letter) != "Mn" or ord(letter) < 0x700 for letter in parts):
        expected = unicodedata.normalize("NFC", parts).encode("utf-8", "surrogateescape")
        assert tokenizer.decode(tokenizer.encode(text)) == expected


@given(st.text(max_size=40).filter(lambda text: "\u2581" not in text and "<0x" not in text))
def test_characters_come_back_by_their_byte_pieces(text: str) -> None:
    pieces = [f"<0x{byte:02X}>".encode() for byte in range(256)]
    pieces += ["\u2581".encode(), b"a", "\u2581a".encode(), "\u00e9".encode()]
    flags = blocks.PREFIX | blocks.BYTE_PIECES
    tokenizer = opened(Block(kind=2, flags=flags, pieces=pieces, merges=[(256, 257)]).content(), 260)
    assert tokenizer.decode(tokenizer.encode(text)) == text.encode()
    assert tokenizer.encode(b"a\xff a") == [258, 0xFF, 258]


def test_what_has_no_piece_becomes_unk_or_nothing() -> None:
    """As the library does it: nothing for a byte of kind 1, one unk for unknown neighbours of kind 2."""
    unknown = [b"a", b"b", b"?", b"ab"]
    assert opened(Block(pieces=unknown, merges=[(0, 1)]).content()).encode("a\u00e9bb") == [3, 1]
    for unk, expected in ((-1, [3, 1]), (2, [0, 2, 1, 1])):
        tokenizer = opened(Block(kind=2, pieces=unknown, merges=[(0, 1)], unk=unk).content())
        assert tokenizer.encode("axybb") == expected


def test_decoding_leaves_out_the_prefix_at_the_beginning_only() -> None:
    pieces = ["\u2581a".encode(), "\u2581".encode(), b"a", b"<s>", b"<0x20>"]
    flags = blocks.PREFIX | blocks.BYTE_PIECES
    block = Block(kind=2, flags=flags, pieces=pieces, scores=[0.0] * 5, added=[(3, 1)], bos=3)
    tokenizer = opened(block.content())
    assert tokenizer.decode([0, 0]) == b"a a"
    assert tokenizer.decode([3, 0]) == b"<s> a"
    assert tokenizer.decode([3, 0], special=False) == b"a"
    assert tokenizer.decode([0], previous=2) == b" a"
    assert tokenizer.decode([0], previous=2, special=False) == b" a"
    assert tokenizer.decode([0], previous=3) == b" a"
    assert tokenizer.decode([0], previous=3, special=False) == b"a"
    assert tokenizer.decode([4, 2]) == b"a"


def grown(first: bytes, count: int) -> Block:
    """Pieces of which each is the one before it twice."""
    pieces = [first * 2**power for power in range(count)]
    return Block(pieces=pieces, merges=[(power, power) for power in range(count - 1)])


HOSTILE = {
    "one run": (grown(b"a", 10), b"a" * 400_000),
    "white space": (dataclasses.replace(grown(b" ", 4), pretokenizer=blocks.LLAMA3), b" " * 400_000),
    "added tokens that nearly match": (
        Block(pieces=[b"a", b"a" * 50_000 + b"b"], added=[(1, 1)], pretokenizer=blocks.GPT2),
        b"a" * 400_000,
    ),
    "added tokens that strip": (
        Block(pieces=[b" ", b" ", b"a"], added=[(1, blocks.LEFT | blocks.RIGHT)], pretokenizer=blocks.GPT2),
        b" " * 400_000,
    ),
    "marks": (
        Block(pieces=[b"a"], flags=blocks.NFC),
        ("a" + "\u0301\u0327" * 100_000).encode(),
    ),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_long_texts_take_time_in_proportion(name: str) -> None:
    """Steps in proportion to the square would take minutes."""
    block, text = HOSTILE[name]
    tokenizer = opened(block.content(), 100)
    began = time.process_time()
    tokenizer.encode(text)
    assert time.process_time() - began < 20


def test_a_pre_token_that_comes_again_has_the_same_tokens() -> None:
    """What was merged once is remembered by its place: the first time, and every time after it."""
    rng = random.Random(3)
    words = ["".join(rng.choices("abcd\u00e9", k=rng.randrange(1, 9))) for _ in range(400)]
    tokenizer = opened(dataclasses.replace(ALL_BYTES, pretokenizer=blocks.GPT2).content(), 259)
    alone = {word: tokenizer.encode(" " + word) for word in words}
    drawn = rng.choices(words, k=3000)
    assert tokenizer.encode("".join(f" {word}" for word in drawn)) == [
        token for word in drawn for token in alone[word]
    ]


LIKE_BYTES = [
    b"<0x4G>",
    b"<0xG4>",
    b"<0x@1>",
    b"<0x1:>",
    b"<0x/1>",
    b"<0x4a>",
    b"<0X41>",
    b"<1x41>",
    b"(0x41>",
    b"<0x41)",
]


def test_only_pieces_that_spell_a_byte_are_bytes() -> None:
    others, spelt = [*LIKE_BYTES, b"<0x41", b"<0x41>>", b"<0x411>"], [b"<0x41>", b"<0x00>", b"<0xFF>"]
    block = Block(kind=2, pieces=[*others, *spelt], scores=[0.0] * 16)
    for flags, last in ((blocks.BYTE_PIECES, [b"A", b"\0", b"\xff"]), (0, spelt)):
        tokenizer = opened(dataclasses.replace(block, flags=flags).content(), 16)
        assert [tokenizer.decode([token]) for token in range(16)] == [*others, *last]


def test_half_a_sign_for_a_space_is_no_space() -> None:
    """Whatever the piece behind it begins with."""
    pieces = [b"a\xe2\x96", b"\x81b", "b\u2581".encode(), b"\xe2", b"\x96\x81"]
    tokenizer = opened(Block(kind=2, pieces=pieces, scores=[0.0] * 5).content())
    assert [tokenizer.decode([token], previous=0) for token in range(5)] == [*pieces[:2], b"b ", *pieces[3:]]
