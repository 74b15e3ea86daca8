"""A trial of texts: every text is compared, the first mismatch is shown and the others are counted."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from verify.tokenizers import trial
from verify.tokenizers.rules import Rules
from verify.tokenizers.trial import Mismatch, Tried, merge_texts, scored_texts, try_texts


class Letters:
    """Library and encoder at once: a letter is its code point; 1 begins a text and 2 ends it."""

    name, finds_added = "letters", False

    def __init__(self, wrong: dict[str, list[int]] | None = None, lossy: str = "") -> None:
        self.wrong, self.lossy, self.batches = wrong or {}, lossy, [0]

    def ids(self, text: str, *, special: bool) -> list[int]:
        if text == "refused":
            raise ValueError("no such letter")
        ids = self.wrong.get(text, [ord(letter) for letter in text])
        return [1, *ids, 2] if special else ids

    def encode(self, texts: Sequence[str], *, special: bool) -> list[list[int]]:
        self.batches.append(len(texts))
        return [self.wrong.get(text) or self.ids(text, special=special) for text in texts]

    def decode(self, texts: Sequence[Sequence[int]]) -> list[str]:
        return ["".join(map(chr, ids)).replace(self.lossy or "\0", "") for ids in texts]


class Encoder:
    def __init__(self, letters: Letters, shouts: bool = False) -> None:
        self.letters, self.shouts = letters, shouts

    def encode(self, text: str, *, special: bool) -> list[int]:
        return self.letters.ids(text, special=special)

    def decode(self, ids: Sequence[int]) -> bytes:
        text = "".join(map(chr, ids))
        return (text.upper() if self.shouts else text).encode()


def tried(texts: Sequence[str], encoder: Encoder | None = None, library: Letters | None = None, **how: bool) -> Tried:
    how = {"special": False, **how}
    return try_texts(texts, encoder or Encoder(Letters()), library or Letters(), what="text", **how)


def test_equal_ids_are_no_mismatch() -> None:
    assert tried(["a", "bc", ""]) == Tried(3)
    assert tried(["a", "bc"], special=True) == Tried(2)
    assert tried([]) == Tried()


def test_special_ids_are_asked_of_both() -> None:
    both = Letters({"a": [97]})
    found = tried(["a"], Encoder(Letters()), both, special=True)
    assert found.mismatch == Mismatch("text", "a", 0, 97, 1)


@pytest.mark.parametrize(
    ("right", "ids", "place", "expected", "found"),
    [
        ([7, 8, 9], [7, 5, 9], 1, 8, 5),
        ([7, 8, 9], [7, 8], 2, 9, "none"),
        ([7, 8], [7, 8, 9], 2, "none", 9),
        ([7], [8, 9], 0, 7, 8),
    ],
)
def test_the_first_id_that_differs(
    right: list[int], ids: list[int], place: int, expected: int | str, found: int | str
) -> None:
    done = tried(["a", "xy"], Encoder(Letters({"xy": ids})), Letters({"xy": right}))
    assert done == Tried(2, 0, Mismatch("text", "xy", place, expected, found))


def test_the_first_text_is_shown_and_all_are_counted() -> None:
    wrong = Encoder(Letters({"b": [5], "c": [6], "d": [7]}))
    assert tried(["a", "b", "c", "d"], wrong) == Tried(4, 0, Mismatch("text", "b", 0, 98, 5, 3))
    assert tried(["a", "b"], wrong) == Tried(2, 0, Mismatch("text", "b", 0, 98, 5, 1))


def test_a_refusal_is_a_mismatch() -> None:
    library = Letters({"refused": [3, 4]})
    found = tried(["refused"], None, library)
    assert found.mismatch == Mismatch("text", "refused", 0, [3], "a refusal: no such letter")


def test_texts_that_the_library_gives_back_are_decoded() -> None:
    library = Letters(lossy="x")
    assert tried(["ab", "ax"], None, library, decoding=True) == Tried(2, 1)
    assert tried(["ab", "ax"], None, library) == Tried(2, 0)
    shouting = Encoder(Letters(), shouts=True)
    found = tried(["ab", "ax", "cd"], shouting, library, decoding=True, special=True)
    assert found == Tried(3, 2, Mismatch("decoding", "ab", 0, "'ab'", "b'AB'", 2))


def test_a_text_with_other_ids_is_not_decoded() -> None:
    wrong = Encoder(Letters({"ab": [5]}), shouts=True)
    found = tried(["ab", "CD"], wrong, decoding=True)
    assert found == Tried(2, 1, Mismatch("text", "ab", 0, 97, 5))


def test_a_long_text_of_a_wrong_decoding_is_cut() -> None:
    found = tried(["a" * 90], Encoder(Letters(), shouts=True), decoding=True)
    assert found.mismatch == Mismatch("decoding", "a" * 90, 0, repr("a" * 80), repr(b"A" * 80))


def test_texts_go_in_batches_and_each_gives_its_sign_of_life(monkeypatch: pytest.MonkeyPatch) -> None:
    work: list[float] = []
    monkeypatch.setattr(trial, "pulse", work.append)
    library, wrong = Letters(), Encoder(Letters({"b": [5]}))
    found = tried(["a"] * 1500 + ["b"] * 700, wrong, library)
    assert (found.count, library.batches, work) == (2200, [0, 1000, 1000, 200], [3e9, 3e9, 6e8])
    assert found.mismatch == Mismatch("text", "b", 0, 98, 5, 700)


@pytest.mark.parametrize(
    ("mismatch", "sentence"),
    [
        (Mismatch("text", "ab", 1, 8, 5), "text 'ab': id 1 of its ids: expected 8, found 5"),
        (
            Mismatch("merge", "ab", 0, 8, "none", 2),
            "merge 'ab': id 0 of its ids: expected 8, found none; 1 more differ",
        ),
        (Mismatch("decoding", "ab", 0, "'ab'", "b'x'", 3), "decoding 'ab': expected 'ab', found b'x'; 2 more differ"),
        (Mismatch("text", "a" * 80, 0, 8, 5), f"text '{'a' * 80}': id 0 of its ids: expected 8, found 5"),
        (Mismatch("text", "a" * 81, 0, 8, 5), f"text '{'a' * 80}'...: id 0 of its ids: expected 8, found 5"),
    ],
)
def test_a_mismatch_says_where_it_is(mismatch: Mismatch, sentence: str) -> None:
    assert mismatch.sentence() == sentence


def test_every_merge_that_is_text_is_tried() -> None:
    space = "\u2581".encode()
    pieces = (b"a", b"b", b"\xc3", b"\xa9", space)
    by_bytes = Rules(kind="bytes", pieces=pieces, merges=((0, 1), (2, 0), (2, 3), (4, 0)))
    assert list(merge_texts(by_bytes)) == ["ab", "\u00e9", "\u2581a"]
    by_characters = Rules(kind="characters", pieces=pieces, merges=((4, 0), (1, 0)))
    assert list(merge_texts(by_characters)) == [" a", "ba"]


def test_every_piece_that_is_merged_by_its_score_is_tried() -> None:
    pieces = (b"", b"a", b"ab", "\u2581a".encode(), b"<s>", b"a\xff", "\u00e9\u00e9".encode())
    rules = Rules(kind="characters", pieces=pieces, scores=(0.0,) * 7, added={4: 1})
    assert list(scored_texts(rules)) == ["ab", " a", "\u00e9\u00e9"]
