"""Rules compared field by field: the first that differs in each, how many do, and what counts as no difference."""

from __future__ import annotations

from dataclasses import replace

import pytest

from verify.tokenizers.differences import Difference, differences, of_pieces, of_scores
from verify.tokenizers.rules import NONE, Rules, SourceRules

RIGHT = Rules(
    kind="bytes",
    pieces=(b"a", b"b", b"ab", b"abb", b"<s>", b"</s>"),
    merges=((0, 1), (2, 1)),
    added={4: 1, 5: 1},
    pre_tokenizer="gpt2",
    bos=4,
    eos=5,
    ends=(5,),
    template="{{ one }} and {{ two }}",
)
SCORED = Rules(kind="characters", pieces=(b"a", b"b", b"c"), scores=(0.0, -1.0, -2.5))


def found(right: Rules = RIGHT, source: SourceRules | None = None, **changes: object) -> list[Difference]:
    return differences(source or SourceRules(right), replace(right, **changes))  # type: ignore[arg-type]


def only(field: str, detail: str, at: int | None = None, count: int = 1) -> list[Difference]:
    return [Difference(field, detail, at, count)]


@pytest.mark.parametrize("rules", [RIGHT, SCORED], ids=["bytes", "characters"])
def test_equal_rules_have_no_difference(rules: Rules) -> None:
    assert found(rules) == []


def test_the_kind_and_the_pre_tokenizer_are_named() -> None:
    assert found(kind="characters") == only("kind", "kind: expected bytes, found characters")
    assert found(pre_tokenizer="qwen2") == only("pre_tokenizer", "pre_tokenizer: expected gpt2, found qwen2")


def test_the_first_wrong_piece_is_shown_and_the_others_counted() -> None:
    source = SourceRules(RIGHT)
    pieces = list(RIGHT.pieces)
    pieces[2] = b"x" * 70
    shown = f"id 2: piece: expected b'ab', found {b'x' * 60!r}"
    assert list(of_pieces(source, pieces)) == only("pieces", shown, 2)
    pieces[3] = b""
    assert list(of_pieces(source, pieces)) == only("pieces", f"{shown}; 1 more ids differ", 2, 2)


def test_ids_beyond_either_list_have_no_piece() -> None:
    source = SourceRules(RIGHT)
    longer = [*RIGHT.pieces, b"", b"new"]
    assert list(of_pieces(source, longer)) == only("pieces", "id 7: piece: expected none, found b'new'", 7)
    assert list(of_pieces(source, longer[:7])) == []
    assert list(of_pieces(source, longer[:5])) == only("pieces", "id 5: piece: expected b'</s>', found none", 5)


def test_other_names_of_an_id_are_no_difference() -> None:
    source = SourceRules(RIGHT, pieces={4: frozenset({b"<bos>"})})
    assert list(of_pieces(source, [*RIGHT.pieces[:4], b"<bos>", b"</s>"])) == []
    assert [one.at for one in of_pieces(source, [*RIGHT.pieces[:4], b"</s>", b"<bos>"])] == [4]


@pytest.mark.parametrize(
    ("added", "detail", "at", "count"),
    [
        ({4: 1}, "id 5: added token: expected b'</s>' with flags 1, found none", 5, 1),
        ({4: 3, 5: 1}, "id 4: added token: expected b'<s>' with flags 1, found b'<s>' with flags 3", 4, 1),
        ({3: 0, 4: 1, 5: 1}, "id 3: added token: expected none, found b'abb' with flags 0", 3, 1),
        ({4: 1, 5: 1, 6: 8}, "id 6: added token: expected none, found no piece with flags 8", 6, 1),
        ({}, "id 4: added token: expected b'<s>' with flags 1, found none; 1 more ids differ", 4, 2),
    ],
    ids=["one too few", "another flag", "one too many", "without a piece", "none"],
)
def test_added_tokens_have_their_flags(added: dict[int, int], detail: str, at: int, count: int) -> None:
    # other tokens change what is reachable, so that merges are looked at alone
    assert [one for one in found(added=added) if one.field == "added"] == only("added", detail, at, count)


@pytest.mark.parametrize(
    ("expected", "scores", "detail", "at", "count"),
    [
        (None, (0.0, 1.0), "scores: expected none, found 2 of them", None, 1),
        ((0.0, 1.0, 2.0), None, "scores: expected 3 of them, found none", None, 1),
        ((0.0, 1 / 3), (0.0, 0.25), "id 1: score: expected 0.333333333, found 0.25", 1, 1),
        ((0.0, 1.0), (2.0, 3.0), "id 0: score: expected 0, found 2; 1 more ids differ", 0, 2),
    ],
)
def test_scores_are_compared_by_id(
    expected: tuple[float, ...] | None, scores: tuple[float, ...] | None, detail: str, at: int | None, count: int
) -> None:
    assert list(of_scores(expected, scores)) == only("scores", detail, at, count)


def test_scores_on_neither_side_or_of_ids_on_one_side_are_no_difference() -> None:
    assert list(of_scores(None, None)) == []
    assert list(of_scores((0.0, 1.0), (0.0,))) == []


@pytest.mark.parametrize(
    ("merges", "detail", "at", "count"),
    [
        (((0, 1),), "merge 1: expected b'ab' + b'b', found none", 1, 1),
        (((0, 1), (2, 1), (0, 0)), "merge 2: expected none, found b'a' + b'a'", 2, 1),
        (((0, 1), (2, 9)), "merge 1: expected b'ab' + b'b', found b'ab' + ?", 1, 1),
        (((2, 1), (0, 1)), "merge 0: expected b'a' + b'b', found b'ab' + b'b'; 1 more ranks differ", 0, 2),
        (((2, 1),), "merge 0: expected b'a' + b'b', found b'ab' + b'b'; 1 more ranks differ", 0, 2),
        (((0, 1), (2, 6)), "merge 1: expected b'ab' + b'b', found b'ab' + ?", 1, 1),
        ((), "merge 0: expected b'a' + b'b', found none; 1 more ranks differ", 0, 2),
    ],
)
def test_merges_are_compared_by_rank(merges: tuple[tuple[int, int], ...], detail: str, at: int, count: int) -> None:
    assert found(merges=merges) == only("merges", detail, at, count)


def test_pairs_that_no_text_reaches_count_only_where_the_source_has_all() -> None:
    """b"abb" is made of "ab" and "b" by rank 1; the pair of "a" and "bb" can stand beside it."""
    pieces = (b"a", b"b", b"ab", b"abb", b"bb")
    right = Rules(kind="bytes", pieces=pieces, merges=((0, 1), (2, 1)))
    strict, loose = SourceRules(right), SourceRules(right, more_merges=True)
    more = ((0, 1), (2, 1), (0, 4))
    assert found(right, strict, merges=more) == only("merges", "merge 2: expected none, found b'a' + b'bb'", 2)
    assert found(right, loose, merges=more) == []
    # not in the order of what they make: then nothing is left out
    other = ((0, 1), (0, 4), (2, 1), (1, 1), (2, 1))
    assert [one.at for one in found(right, loose, merges=other)] == [1]


def test_an_added_token_is_made_by_no_merge() -> None:
    """Both ids are b"ab": what a merge makes is the one that is not added, which comes first in the order."""
    pieces = (b"a", b"b", b"ab", b"abb", b"ab")
    right = Rules(kind="bytes", pieces=pieces, merges=((0, 1), (2, 1)), added={4: 1})
    source = SourceRules(right, more_merges=True)
    assert found(right, source, merges=((0, 1), (2, 1), (4, 1))) == []


def test_switches_are_named_by_what_they_do() -> None:
    said = "every digit is a pre-token of its own"
    assert found(digits=True) == only("digits", f"digits: expected not that {said}, found that")
    splits = replace(RIGHT, digits=True)
    assert found(splits, digits=False) == only("digits", f"digits: expected {said}, found it does not")
    changed = found(ignore_merges=True, add_bos=True, add_eos=True, nfc=True, prefix=True, byte_fallback=True)
    assert [one.field for one in changed] == ["ignore_merges", "add_bos", "add_eos", "nfc", "prefix", "byte_fallback"]


@pytest.mark.parametrize("name", ["bos", "unk", "eos"])
def test_an_id_is_the_source_s_or_one_of_its_other_files(name: str) -> None:
    right = replace(RIGHT, **{name: 0})
    assert found(right, **{name: NONE}) == only(name, f"{name}: expected 0, found none")
    assert found(replace(RIGHT, **{name: NONE}), **{name: 0}) == only(name, f"{name}: expected none, found 0")
    source = SourceRules(right, **{name: frozenset({3})})  # type: ignore[arg-type]
    assert found(right, source, **{name: 3}) == []
    assert found(right, source, **{name: 2}) == only(name, f"{name}: expected 0, found 2")


def test_the_source_s_ends_are_needed_and_those_of_its_other_files_allowed() -> None:
    right = replace(RIGHT, ends=(4, 5))
    source = SourceRules(right, ends=frozenset({3}))
    assert found(right, source, ends=(3, 4, 5)) == []
    assert found(right, source, ends=(3, 4)) == only("ends", "end ids: expected 4, 5, found 3, 4")
    assert found(right, source, ends=(2, 4, 5)) == only("ends", "end ids: expected 4, 5, found 2, 4, 5")
    assert found(right, source, ends=()) == only("ends", "end ids: expected 4, 5, found none")


@pytest.mark.parametrize(
    ("template", "detail", "at"),
    [
        ("", "chat template: expected one of 23 characters, found none", None),
        ("{{ one }} or {{ two }}", "chat template: character 10: expected 'and {{ two }}', found 'or {{ two }}'", 10),
        ("{{ one }}", "chat template: character 9: expected ' and {{ two }}', found ''", 9),
        ("{{ one }} and {{ two }}!", "chat template: character 23: expected '', found '!'", 23),
        ("x" * 70, f"chat template: character 0: expected '{{{{ one }}}} and {{{{ two }}}}', found '{'x' * 60}'", 0),
    ],
)
def test_the_first_character_of_a_template_that_differs_is_shown(template: str, detail: str, at: int | None) -> None:
    assert found(template=template) == only("template", detail, at)


def test_a_template_that_the_source_lacks_is_named() -> None:
    expected = only("template", "chat template: expected none, found one of 1 characters")
    assert found(replace(RIGHT, template=""), template="x") == expected
