"""A SentencePiece model by hand, field by field of its message: what each means, and what no format holds."""

from __future__ import annotations

import struct

import pytest

from verify.tokenizers.rules import NONE, NotHeldError, SourceRules
from verify.tokenizers.sentencepiece_model import rules_of_sentencepiece


def varint(value: int) -> bytes:
    parts = []
    while value > 0x7F:
        parts.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*parts, value])


def number(field: int, value: int) -> bytes:
    return varint(field << 3) + varint(value)


def sized(field: int, content: bytes) -> bytes:
    return varint(field << 3 | 2) + varint(len(content)) + content


def single(field: int, value: float) -> bytes:
    return varint(field << 3 | 5) + struct.pack("<f", value)


def piece(text: bytes, score: float = 0.0, kind: int | None = None) -> bytes:
    return sized(1, sized(1, text) + single(2, score) + (b"" if kind is None else number(3, kind)))


PIECES = piece(b"<unk>", 0.0, 2) + piece(b"<s>", 0.0, 3) + piece(b"a", -1.5) + piece(b"ab", -2.5, 1)
BPE = sized(2, number(3, 2))


def read(content: bytes, bos: int = 1, unk: int = 0, eos: int = NONE) -> SourceRules:
    return rules_of_sentencepiece(content, bos, unk, eos)


def test_pieces_scores_and_kinds() -> None:
    content = PIECES + piece(b"<mask>", -0.5, 4) + piece(b"<0x00>", 0.0, 6) + BPE
    found = read(content).rules
    assert (found.kind, found.pieces[:3], found.pieces[3:]) == (
        "characters",
        (b"<unk>", b"<s>", b"a"),
        (b"ab", b"<mask>", b"<0x00>"),
    )
    assert found.scores == (0.0, 0.0, -1.5, -2.5, -0.5, 0.0)
    assert (found.added[4], found.prefix, found.byte_fallback) == (0, True, False)
    assert (found.bos, found.unk, found.eos, found.add_bos, found.add_eos) == (1, 0, NONE, True, False)


def test_an_empty_piece_has_the_defaults_of_its_message() -> None:
    found = read(sized(1, b"") + BPE, NONE, NONE, 3).rules
    assert (found.pieces, found.scores, found.added) == ((b"",), (0.0,), {})
    assert (found.bos, found.unk, found.eos, found.add_bos) == (NONE, NONE, 3, False)


def test_the_first_id_may_be_bos() -> None:
    assert read(PIECES + BPE, 0).rules.add_bos


@pytest.mark.parametrize(("count", "fallback"), [(0, False), (255, False), (256, True), (257, False)])
def test_byte_fallback_needs_a_piece_for_every_byte(count: int, fallback: bool) -> None:
    content = b"".join(piece(f"<0x{n:02X}>".encode(), 0.0, 6) for n in range(count))
    assert read(PIECES + content + BPE).rules.byte_fallback == fallback


@pytest.mark.parametrize("value", [0, 1])
def test_a_space_stands_before_a_text_unless_the_normalizer_says_otherwise(value: int) -> None:
    assert read(PIECES + BPE + sized(3, number(3, value))).rules.prefix == bool(value)
    assert read(PIECES + BPE + sized(3, number(4, value))).rules.prefix


@pytest.mark.parametrize("value", [0, 1])
def test_repeated_spaces_are_removed_unless_the_normalizer_says_otherwise(value: int) -> None:
    assert read(PIECES + BPE + sized(3, number(4, value))).rules.single_spaces == bool(value)
    assert read(PIECES + BPE + sized(3, number(3, 0) + number(5, 1))).rules.single_spaces


@pytest.mark.parametrize(
    ("trainer", "normalizer", "what"),
    [
        (b"", b"", "a SentencePiece model of the type unigram"),
        (number(3, 1), b"", "a SentencePiece model of the type unigram"),
        (number(3, 3), b"", "a SentencePiece model of the type word"),
        (number(3, 4), b"", "a SentencePiece model of the type char"),
        (number(3, 9), b"", "a SentencePiece model of the type 9"),
        (number(3, 2), sized(1, b"nmt_nfkc") + sized(2, b"map"), "the normalization 'nmt_nfkc'"),
        (number(3, 2), sized(2, b"map"), "the normalization ''"),
        (number(3, 2), sized(1, b"\xff") + sized(2, b"map"), "the normalization '\ufffd'"),
        (number(3, 2), number(5, 0), "pieces that do not begin with U+2581 for a space"),
        (number(3, 2) + number(24, 1), b"", "pieces that do not begin with U+2581 for a space"),
    ],
)
def test_what_no_format_holds_is_named(trainer: bytes, normalizer: bytes, what: str) -> None:
    with pytest.raises(NotHeldError) as error:
        read(PIECES + sized(2, trainer) + sized(3, normalizer))
    assert str(error.value) == what


def test_settings_that_change_nothing_are_no_reason() -> None:
    plain = read(PIECES + BPE)
    normalizer = sized(1, b"identity") + sized(2, b"") + number(5, 1)
    assert read(PIECES + sized(2, number(3, 2) + number(24, 0)) + sized(3, normalizer)) == plain


def test_fields_of_every_wire_type_are_passed_over() -> None:
    plain = read(PIECES + BPE)
    others = number(9, 1 << 40) + varint(9 << 3 | 1) + bytes(8) + single(9, 1.0) + sized(200, b"abc")
    assert read(others + PIECES + others + BPE + others) == plain


def test_a_number_has_at_most_ten_bytes() -> None:
    longest = varint(9 << 3) + b"\xff" * 9
    assert read(longest + b"\x01" + PIECES + BPE) == read(PIECES + BPE)
    with pytest.raises(ValueError, match=r"^a number beyond the end$"):
        read(longest + b"\x81\x00" + PIECES + BPE)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"\x80", "a number beyond the end"),
        (number(9, 1)[:1], "a number beyond the end"),
        (sized(9, b"abc")[:-1], "a field beyond the end"),
        (single(9, 1.0)[:-1], "a field beyond the end"),
        ((varint(9 << 3 | 1) + bytes(8))[:-1], "a field beyond the end"),
        (varint(9 << 3 | 3), "a field of the wire type 3"),
        (varint(9 << 3 | 7), "a field of the wire type 7"),
    ],
)
def test_bytes_that_are_no_message_say_why(content: bytes, message: str) -> None:
    with pytest.raises(ValueError, match=f"^{message}$"):
        read(PIECES + BPE + content)
