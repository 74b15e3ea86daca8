"""What llama2.c's and qwen3.c's files must hold of a source's tokenizer, and what differs in a file."""

from __future__ import annotations

from dataclasses import replace

import pytest

from verify.tokenizers.differences import Difference
from verify.tokenizers.plain_files import PlainTokens
from verify.tokenizers.plain_rules import plain_differences, plain_expectation, unfit
from verify.tokenizers.rules import NONE, Rules, SourceRules

BYTE_PIECES = tuple(f"<0x{byte:02X}>".encode() for byte in range(256))
LLAMA = Rules(
    kind="characters",
    pieces=(b"<unk>", b"<s>", b"</s>", *BYTE_PIECES, "\u2581a".encode()),
    scores=(0.0, *range(259)),
    prefix=True,
    bos=1,
    eos=2,
)
RANKED = Rules(kind="bytes", pieces=(b"a", b"b", b"ab", b"abb", b"bb"), merges=((0, 1), (2, 1)), bos=0, eos=1)


def tokens(rules: Rules, **changes: object) -> PlainTokens:
    longest = max(map(len, rules.pieces))
    scores = rules.scores or tuple(-float(n) for n in range(len(rules.pieces)))
    made = PlainTokens(form="qwen3c", pieces=rules.pieces, scores=scores, longest=longest, bos=None, eos=None)
    return replace(made, **changes)  # type: ignore[arg-type]


def test_llama2_c_has_lines_around_bos_and_eos_and_spaces_for_their_letter() -> None:
    expected = plain_expectation(SourceRules(LLAMA), "llama2c", 262).rules
    assert expected == replace(LLAMA, pieces=(b"<unk>", b"\n<s>\n", b"\n</s>\n", *BYTE_PIECES, b" a", b"", b""))


def test_qwen3_c_has_the_pieces_as_they_are() -> None:
    assert plain_expectation(SourceRules(RANKED), "qwen3c", 5).rules == RANKED


@pytest.mark.parametrize(
    ("eos", "ends", "marked"),
    [(NONE, (2, 3), 2), (3, (2,), 3), (NONE, (), None), (0, (2,), 0)],
    ids=["the first end", "eos before the ends", "none", "the id 0"],
)
def test_what_ends_a_text_is_eos_or_else_the_first_end(eos: int, ends: tuple[int, ...], marked: int | None) -> None:
    rules = replace(RANKED, bos=NONE, eos=eos, ends=ends)
    pieces = plain_expectation(SourceRules(rules), "llama2c", 5).rules.pieces
    assert [n for n, piece in enumerate(pieces) if piece.startswith(b"\n")] == ([] if marked is None else [marked])


def test_a_source_of_another_kind_keeps_the_letter_of_spaces() -> None:
    rules = replace(RANKED, pieces=("\u2581".encode(), b"b", b"c", b"d", b"e"))
    assert plain_expectation(SourceRules(rules), "qwen3c", 5).rules.pieces[0] == "\u2581".encode()


@pytest.mark.parametrize(
    ("changes", "reasons"),
    [
        ({}, []),
        ({"kind": "bytes"}, ["byte-level BPE"]),
        ({"bos": 2}, ["a bos of 2"]),
        ({"prefix": False}, ["no space before a text"]),
        ({"nfc": True}, ["NFC"]),
        ({"pieces": (b"<unk>", b"<s>", *BYTE_PIECES, b"a")}, ["byte pieces that do not begin at id 3"]),
        ({"pieces": (*LLAMA.pieces[:258], b"a", b"b")}, ["byte pieces that do not begin at id 3"]),
    ],
)
def test_what_run_c_cannot_encode_is_named(changes: dict[str, object], reasons: list[str]) -> None:
    rules = replace(LLAMA, **changes)  # type: ignore[arg-type]
    assert unfit(rules, "llama2c") == [f"llama2.c's format cannot hold {reason}" for reason in reasons]
    assert unfit(rules, "qwen3c") == []


def test_a_file_of_the_source_has_no_difference() -> None:
    assert plain_differences(SourceRules(LLAMA), tokens(LLAMA)) == []
    assert plain_differences(SourceRules(RANKED), tokens(RANKED)) == []


def test_the_longest_piece_is_counted_in_the_file() -> None:
    detail = "max_token_length: expected 6, of the longest piece, found 7"
    assert plain_differences(SourceRules(LLAMA), tokens(LLAMA, longest=7)) == [Difference("longest", detail)]


def test_scores_of_a_source_are_those_of_the_file() -> None:
    scores = [*(LLAMA.scores or ()), 7.0]
    assert plain_differences(SourceRules(LLAMA), tokens(LLAMA, scores=tuple(scores))) == []
    scores[3] = -2.0
    detail = "id 3: score: expected 2, found -2"
    assert plain_differences(SourceRules(LLAMA), tokens(LLAMA, scores=tuple(scores))) == [
        Difference("scores", detail, 3)
    ]


@pytest.mark.parametrize("name", ["bos", "eos"])
def test_an_id_is_the_source_s_or_one_that_its_files_name(name: str) -> None:
    source = SourceRules(RANKED, **{name: frozenset({3})})  # type: ignore[arg-type]
    right = getattr(RANKED, name)
    for token in (None, right, 3):
        assert plain_differences(source, tokens(RANKED, **{name: token})) == []
    detail = f"{name}: expected {right}, found 2"
    assert plain_differences(source, tokens(RANKED, **{name: 2})) == [Difference(name, detail)]


def test_eos_may_be_any_id_that_ends_a_text() -> None:
    source = SourceRules(replace(RANKED, ends=(3,)), ends=frozenset({4}))
    for token, expected in ((3, 0), (4, 0), (2, 1)):
        assert len(plain_differences(source, tokens(RANKED, eos=token))) == expected


def ranked(scores: tuple[float, ...], **changes: object) -> list[Difference]:
    rules = replace(RANKED, **changes)  # type: ignore[arg-type]
    return plain_differences(SourceRules(rules), tokens(rules, scores=scores))


def test_earlier_merges_have_larger_scores() -> None:
    before = "that of id 2, which merges before it"
    detail = f"id 3: score: expected less than 0.5, {before}, found 0.5"
    assert ranked((9.0, 9.0, 0.5, 0.25, 9.0)) == []
    assert ranked((9.0, 9.0, 0.5, 0.5, 9.0)) == [Difference("scores", detail, 3)]


def test_all_scores_that_do_not_fall_are_counted_and_the_first_is_shown() -> None:
    three = ((0, 1), (2, 1), (1, 1))
    [found] = ranked((9.0, 9.0, 1.0, 2.0, 3.0), merges=three)
    assert (found.at, found.count) == (3, 2)
    [found] = ranked((9.0, 9.0, 3.0, 1.0, 2.0), merges=three)
    assert (found.at, found.count) == (4, 1)
    assert found.detail == "id 4: score: expected less than 1, that of id 3, which merges before it, found 2"


def test_a_piece_counts_by_its_first_merge_and_added_tokens_by_none() -> None:
    assert ranked((9.0, 9.0, 2.0, 1.0, 9.0), merges=((0, 1), (2, 1), (0, 1))) == []
    twice = (b"a", b"b", b"ab", b"abb", b"ab")
    assert ranked((9.0, 9.0, 2.0, 1.0, 0.5), pieces=twice, added={4: 1}) == []


def test_a_merge_into_a_piece_that_the_model_lacks_has_no_score() -> None:
    assert ranked((9.0, 9.0, 2.0), pieces=(b"a", b"b", b"ab"), merges=((0, 1), (2, 1))) == []
    longer = tokens(RANKED, pieces=RANKED.pieces[:3], scores=(9.0, 9.0, 2.0), longest=2)
    assert [one.field for one in plain_differences(SourceRules(RANKED), longer)] == ["pieces"]


def test_a_file_without_pieces_has_no_longest_one() -> None:
    empty = tokens(RANKED, pieces=(), scores=(), longest=0)
    assert [one.field for one in plain_differences(SourceRules(RANKED), empty)] == ["pieces"]
