"""tokenizer.bin: what is refused and why, and that text becomes the tokens that run.c's plain steps make of it."""

from __future__ import annotations

import ctypes
import errno
import itertools
import os
import pickle
import struct
from pathlib import Path

import numpy as np
import pytest
from helpers.tokenizer_bins import (
    Entry,
    byte_entries,
    content,
    from_sentencepiece,
    plain_encode,
    save,
    trained,
)
from hypothesis import example, given
from hypothesis import strategies as st

import reader_c
import verify.demo
from verify.demo import HELD_OUT_TEXT

SMALL: list[Entry] = [(b"<unk>", 0.0), (b"\n<s>\n", 0.0), (b"\n</s>\n", 0.0), (b"a", -1.0), (b" ", -2.0)]
AT = [4, 17, 30, 44, 53]  # where the entries of SMALL begin
SIZE = 62


def demo_entries() -> list[Entry]:
    import sentencepiece

    model = Path(verify.demo.__file__).parent / "tokenizer.model"
    return from_sentencepiece(sentencepiece.SentencePieceProcessor(model_file=str(model)))


@pytest.fixture(scope="module")
def vocabularies(tmp_path_factory: pytest.TempPathFactory) -> list[tuple[list[Entry], reader_c.Tokenizer]]:
    directory = tmp_path_factory.mktemp("tokenizers")
    every = [demo_entries(), from_sentencepiece(trained(512)), from_sentencepiece(trained(1024)), byte_entries()]
    every[-1] += [(b" ", -1.0), (b"\n", -2.0)]
    return [
        (entries, reader_c.Tokenizer(save(directory / f"{number}.bin", entries), len(entries)))
        for number, entries in enumerate(every)
    ]


def changed(at: int, new: bytes) -> bytes:
    file = bytearray(content(SMALL))
    file[at : at + len(new)] = new
    return bytes(file)


def test_the_file_by_hand_is_laid_out_as_these_tests_assume() -> None:
    assert len(content(SMALL)) == SIZE
    assert [content(SMALL).find(struct.pack("<i", len(piece)) + piece) - 4 for piece, _ in SMALL] == AT


# each rule of the format, with the message that says which one a file breaks
BROKEN = {
    "empty": (b"", "file size: expected at least 49, found 0"),
    "too short for so many tokens": (content(SMALL)[:48], "file size: expected at least 49, found 48"),
    "longest is zero": (changed(0, struct.pack("<i", 0)), "max_token_length at 0: expected at least 1, found 0"),
    "longest is negative": (
        changed(0, struct.pack("<i", -5)),
        "max_token_length at 0: expected at least 1, found -5",
    ),
    "longest overflows run.c's buffer": (
        changed(0, struct.pack("<i", 2**30 - 1)),
        "max_token_length at 0: expected at most 1073741822, found 1073741823",
    ),
    "longer than the longest": (
        content(SMALL, longest=5),
        "piece length at 34: expected at most max_token_length = 5, found 6",
    ),
    "length of zero": (changed(AT[3] + 4, struct.pack("<i", 0)), "piece length at 48: expected at least 1, found 0"),
    "negative length": (
        changed(AT[1] + 4, struct.pack("<i", -(2**31))),
        "piece length at 21: expected at least 1, found -2147483648",
    ),
    "ends within a piece": (content(SMALL)[:-1], "file size at 53: expected at least 62, found 61"),
    "ends within a long piece": (
        content([*SMALL[:4], (b"  ", 0.0)])[:-1],
        "file size at 57: expected at least 63, found 62",
    ),
    "one byte more": (content(SMALL) + b"\0", "file size at 62: expected what this vocabulary takes, 62, found 63"),
    "not a number": (changed(AT[3], struct.pack("<f", float("nan"))), "score at 44: expected a number, found nan"),
    "a zero byte": (
        changed(AT[1] + 9, b"\0"),
        "piece at 26: expected no byte 0, which ends a text in C, found one",
    ),
    "the same piece twice": (
        content([*SMALL[:4], (b"a", 5.0)]),
        "token with this piece at 61: expected only 3, found 4",
    ),
}


@pytest.mark.parametrize("name", BROKEN)
def test_each_rule_refuses_a_file_by_name(name: str, tmp_path: Path) -> None:
    file, message = BROKEN[name]
    path = tmp_path / "tokenizer.bin"
    path.write_bytes(file)
    with pytest.raises(reader_c.InvalidFileError) as refused:
        reader_c.Tokenizer(path, len(SMALL))
    assert str(refused.value) == f"{path}: {message} (is it the tokenizer of another model?)"


def test_every_prefix_of_a_file_is_refused_and_the_whole_is_not(tmp_path: Path) -> None:
    path = tmp_path / "tokenizer.bin"
    for size in range(SIZE):
        path.write_bytes(content(SMALL)[:size])
        with pytest.raises(reader_c.InvalidFileError, match="file size"):
            reader_c.Tokenizer(path, len(SMALL))
    for longest in (6, 7, 2**30 - 2):
        assert reader_c.Tokenizer(save(path, SMALL, longest), len(SMALL)).encode(b"a") == [4, 3]


@pytest.mark.parametrize(
    ("start", "remark"),
    [
        (b' {"version": "1.0", "truncation": null, "padding": null, "model"', "(is it a tokenizer.json?)"),
        (b"\n\x0e\n\x05<unk>\x15\0\0\0\0\x18\x02" * 8, "(is it a SentencePiece model?)"),
    ],
)
def test_another_kind_of_tokenizer_is_recognised(start: bytes, remark: str, tmp_path: Path) -> None:
    path = tmp_path / "tokenizer"
    path.write_bytes(start)
    with pytest.raises(reader_c.InvalidFileError) as refused:
        reader_c.Tokenizer(path, 5)
    assert str(refused.value).endswith(remark)


@pytest.mark.parametrize(
    ("vocab_size", "message"),
    [
        (2, "vocab_size: expected at least 3, found 2"),
        (-(10**30), "vocab_size: expected at least 3, found -1"),
        (2**31 - 1, "vocab_size: expected at most 2147483646, found 2147483647"),
        (10**30, "vocab_size: expected at most 2147483646, found 4611686018427387904"),
        (True, "vocab_size: expected an integer, found True"),
        (5.0, "vocab_size: expected an integer, found 5.0"),
    ],
)
def test_a_vocabulary_that_no_file_can_have_is_refused(vocab_size: int, message: str, tmp_path: Path) -> None:
    path = save(tmp_path / "tokenizer.bin", SMALL)
    with pytest.raises(reader_c.ArgumentError) as refused:
        reader_c.Tokenizer(path, vocab_size)
    assert str(refused.value) == f"{path}: {message}"


def test_what_cannot_be_read_is_refused_without_waiting(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for path, number in (
        (tmp_path / "none", errno.ENOENT),
        (tmp_path, errno.EISDIR),
        (tmp_path / "pipe", errno.ENODEV),
    ):
        with pytest.raises(reader_c.ReaderSystemError) as refused:
            reader_c.Tokenizer(path, 5)
        assert refused.value.errno == number
    with pytest.raises(reader_c.ArgumentError, match="no null byte"):
        reader_c.Tokenizer("a\0b", 5)


def test_a_tokenizer_says_what_it_is_and_is_not_copied(tmp_path: Path) -> None:
    path = save(tmp_path / "tokenizer.bin", SMALL)
    tokenizer = reader_c.Tokenizer(path, np.int64(5))
    assert repr(tokenizer) == f"Tokenizer({str(path)!r}, 5)"
    with pytest.raises(TypeError, match="cannot be copied"):
        pickle.dumps(tokenizer)


TEXTS = st.one_of(
    st.binary(max_size=60),
    st.text(max_size=60).map(lambda text: text.encode("utf-8", "surrogatepass")),
    st.text(" \n\tabcdehilnorst.,0129<>x\u00e9\u65e5\U0001f600", max_size=80).map(str.encode),
    st.integers(0, 30000).map(lambda at: HELD_OUT_TEXT.read_bytes()[at : at + 120]),
).map(lambda text: text.replace(b"\0", b" "))


@given(TEXTS, st.booleans(), st.booleans(), st.integers(0, 3))
@example(b"", True, True, 0)
@example(b"\n<s>\n", True, False, 1)
@example(b"\x80\x80\x80\x80\x80\xe2\x82", False, False, 1)
@example(b"<0x41><0x4", False, False, 3)
def test_tokens_are_those_of_run_c_s_plain_steps(
    vocabularies: list[tuple[list[Entry], reader_c.Tokenizer]], text: bytes, bos: bool, eos: bool, which: int
) -> None:
    entries, tokenizer = vocabularies[which]
    assert tokenizer.encode(text, bos=bos, eos=eos) == plain_encode(entries, text, bos=bos, eos=eos)


@st.composite
def small_vocabularies(draw: st.DrawFn) -> list[Entry]:
    """Pieces over three letters, many of which are two others; scores with ties, floors and infinities."""
    pieces = draw(st.lists(st.text("ab ", min_size=2, max_size=6), max_size=30, unique=True))
    scores = st.sampled_from([0.0, -0.0, -1.0, -1.0, 2.5, 1e-40, -1e10, -1.1e10, float("inf"), -float("inf")])
    letters = [(b"a", draw(scores)), (b"b", draw(scores)), (b" ", draw(scores))]
    return [*SMALL[:3], *letters, *((piece.encode(), draw(scores)) for piece in pieces)]


@given(small_vocabularies(), st.text("ab ", max_size=40))
@example([*SMALL[:3], (b"a", 0.0), (b"b", 0.0), (b" ", 0.0), (b"aa", -1.0), (b"aaa", -1.0)], "aaaaaaa")
@example([*SMALL[:3], (b"a", 0.0), (b"b", 0.0), (b" ", 0.0), (b"ab", -1e10), (b"ba", -1.0)], "abab")
@example([*SMALL[:3], (b"a", 0.0), (b"b", 0.0), (b" ", 0.0), (b"ab", -1e10)], "ab")
@example([*SMALL[:3], (b"a", 0.0), (b" ", 0.0), (b"\n<s>\n ", 1.0), (b"\n<s>\n a", 1.0)], "aa")
def test_merges_are_those_of_run_c_s_loop_for_any_vocabulary(
    tmp_path_factory: pytest.TempPathFactory, entries: list[Entry], text: str
) -> None:
    path = tmp_path_factory.getbasetemp() / "drawn.bin"
    tokenizer = reader_c.Tokenizer(save(path, entries), len(entries))
    assert tokenizer.encode(text, bos=True) == plain_encode(entries, text.encode(), bos=True)


@given(TEXTS, st.integers(0, 3))
def test_decoding_gives_the_text_back(
    vocabularies: list[tuple[list[Entry], reader_c.Tokenizer]], text: bytes, which: int
) -> None:
    """Unless the text spells out a byte's piece, which run.c takes for that byte."""
    tokenizer = vocabularies[which][1]
    if b"<0x" not in text:
        assert tokenizer.decode(tokenizer.encode(text, bos=True)) == text


@pytest.mark.parametrize("text", ["\U0001f600", "a\U0001f600\u20ac\u00e9a"])
def test_characters_of_up_to_four_bytes_have_pieces(text: str, tmp_path: Path) -> None:
    pieces = [" ", "a", "\u00e9", "\u20ac", "\U0001f600"]
    entries = byte_entries() + [(piece.encode(), 0.0) for piece in pieces]
    entries += [(b"\x80\x80\x80\x80", 0.0), (b"\x80\x80\x80\x80\x80", 0.0)]
    tokenizer = reader_c.Tokenizer(save(tmp_path / "tokenizer.bin", entries), len(entries))
    assert tokenizer.encode(text) == [259, *(259 + pieces.index(character) for character in text)]
    # a fifth byte begins anew
    assert tokenizer.encode(b"\x80" * 5) == [259, 264, 0x80 + 3]


def test_text_may_be_given_as_str_and_undecodable_bytes_are_kept(
    vocabularies: list[tuple[list[Entry], reader_c.Tokenizer]],
) -> None:
    tokenizer = vocabularies[0][1]
    assert tokenizer.encode("caf\u00e9 \udcff") == tokenizer.encode(b"caf\xc3\xa9 \xff")
    assert tokenizer.encode(bytearray(b"abc")) == tokenizer.encode(b"abc")


def test_long_text_without_a_boundary_takes_time_in_proportion(
    vocabularies: list[tuple[list[Entry], reader_c.Tokenizer]],
) -> None:
    """run.c's loop would take hours."""
    entries, tokenizer = vocabularies[1]
    part = tokenizer.encode(b"e" * 300_000)
    assert tokenizer.decode(part) == b" " + b"e" * 300_000
    assert tokenizer.encode(b"e" * 300) == plain_encode(entries, b"e" * 300)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (b"aa\0a", "byte of the text at 2: expected at least 1, found 0"),
        (b"a\xff", "byte of the text at 1: expected tokens up to that of byte 1, found 255"),
        (b"\x02", "byte of the text at 0: expected tokens up to that of byte 1, found 2"),
    ],
)
def test_text_that_run_c_cannot_encode_is_refused(text: bytes, message: str, tmp_path: Path) -> None:
    tokenizer = reader_c.Tokenizer(save(tmp_path / "tokenizer.bin", SMALL), len(SMALL))
    with pytest.raises(reader_c.ArgumentError) as refused:
        tokenizer.encode(text)
    assert str(refused.value) == f"{tokenizer.path}: {message}"
    # byte 1 is token 4, whatever its piece is
    assert tokenizer.encode(b"\x01") == [4, 4]


def test_without_a_piece_of_one_space_only_the_empty_text_has_tokens(tmp_path: Path) -> None:
    tokenizer = reader_c.Tokenizer(save(tmp_path / "tokenizer.bin", SMALL[:4]), 4)
    assert tokenizer.encode(b"", bos=True, eos=True) == [1, 2]
    with pytest.raises(reader_c.InvalidFileError) as refused:
        tokenizer.encode(b"a")
    expected = "vocabulary: expected a piece of one space, which begins every text, found none"
    assert str(refused.value) == f"{tokenizer.path}: {expected}"


def test_a_byte_s_piece_is_what_sscanf_finds_in_it(tmp_path: Path) -> None:
    """run.c asks sscanf, which takes white space, a sign, one digit, and anything after the digits."""
    entries = byte_entries()
    known = {piece for piece, _ in entries}
    tails = ("".join(tail) for n in range(4) for tail in itertools.product("\t +-0xXfg1>", repeat=n))
    entries += [(piece, 0.0) for tail in tails if (piece := f"<0x{tail}".encode()) not in known]
    tokenizer = reader_c.Tokenizer(save(tmp_path / "tokenizer.bin", entries), len(entries))
    sscanf = ctypes.CDLL(None).sscanf
    for token, (piece, _) in enumerate(entries):
        value = ctypes.c_ubyte()
        found = sscanf(piece, b"<0x%02hhX>", ctypes.byref(value)) == 1
        expected = bytes([value.value]) if found else piece
        assert tokenizer.decode([token]) == (b"" if token == 1 else expected)


def test_decoding_leaves_out_the_first_token_and_one_space_after_it(tmp_path: Path) -> None:
    entries = [*SMALL, (b"  a", 0.0), (b" <0x41>", 0.0), (b"\x07", 0.0), (b"\xc3", 0.0), (b"<0x0A>", 0.0)]
    entries += [(b"\x7f", 0.0), (b"~", 0.0)]
    tokenizer = reader_c.Tokenizer(save(tmp_path / "tokenizer.bin", entries), len(entries))
    assert tokenizer.decode([1, 5, 5]) == b" a  a"
    assert tokenizer.decode([5], previous=1) == b" a"
    assert tokenizer.decode([1, 4, 4]) == b" "
    assert tokenizer.decode([6]) == b" <0x41>"
    assert tokenizer.decode([6], previous=1) == b"A"
    assert tokenizer.decode([1, 2, 1, 4]) == b"\n</s>\n"
    assert tokenizer.decode([3, 7, 8, 9]) == b"a\x07\xc3\n"
    assert tokenizer.decode([3, 7, 8, 9, 10, 11], shown=True) == b"a\n~"
    assert tokenizer.decode([]) == b""


@pytest.mark.parametrize("ids", [[-1], [0, 5], [2**40], [0, -(2**63)]])
def test_ids_outside_the_vocabulary_are_refused(ids: list[int], tmp_path: Path) -> None:
    tokenizer = reader_c.Tokenizer(save(tmp_path / "tokenizer.bin", SMALL), len(SMALL))
    with pytest.raises(reader_c.ArgumentError) as refused:
        tokenizer.decode(ids)
    expected = f"{tokenizer.path}: token at {len(ids) - 1}: expected 0 to 4, found {ids[-1]}"
    assert str(refused.value) == expected
    with pytest.raises(reader_c.ArgumentError, match="0 to 4"):
        tokenizer.decode([3], previous=ids[-1])


@pytest.mark.parametrize("ids", [[[1]], ["a"], [1.5]])
def test_ids_of_another_shape_or_type_are_refused(ids: list[object], tmp_path: Path) -> None:
    tokenizer = reader_c.Tokenizer(save(tmp_path / "tokenizer.bin", SMALL), len(SMALL))
    with pytest.raises(reader_c.ArgumentError, match="one dimension of integers"):
        tokenizer.decode(ids)  # type: ignore[arg-type]
