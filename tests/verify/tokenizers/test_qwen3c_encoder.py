"""How qwen3.c encodes: by hand, with each peculiarity of its encode()."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from verify.tokenizers.plain_files import PlainTokens
from verify.tokenizers.qwen3c_encoder import Qwen3cEncoder, encoded_otherwise
from verify.tokenizers.trial import ENCODED

# id: piece, score
PIECES = {
    b"a": -1e6,
    b"b": -1e6,
    b" ": -1e6,
    b"<": -1e6,
    b">": -1e6,
    b"ab": -1.0,
    b"b ": -0.5,
    b"aa": -2.0,
    b"<a>": -1e6,
    b"never": -1e10,
    b"<" + b"a" * 62 + b">": -1e6,
    b"<" + b"a" * 63 + b">": -1e6,
}
A, B, SPACE, OPEN, CLOSE, AB, B_SPACE, AA, SPECIAL, _, LONG, TOO_LONG = range(12)


def encoder(**pieces: float) -> Qwen3cEncoder:
    entries = {**PIECES, **{piece.encode(): score for piece, score in pieces.items()}}
    return Qwen3cEncoder(PlainTokens("qwen3c", tuple(entries), tuple(entries.values()), 64, 0, 1))


@pytest.mark.parametrize(
    ("text", "ids"),
    [
        ("", []),
        # the larger score first, across what a regular expression would cut
        ("ab ", [A, B_SPACE]),
        ("ab", [AB]),
        # of equal ones the leftmost
        ("aaa", [AA, A]),
        ("b<a>b", [B, SPECIAL, B]),
        ("<a", [OPEN, A]),
        ("<b>", [OPEN, B, CLOSE]),
        # a first > ends the search, whatever follows
        ("<b><a>", [OPEN, B, CLOSE, SPECIAL]),
        ("<" + "a" * 62 + ">", [LONG]),
    ],
)
def test_a_text_becomes_these_ids(text: str, ids: list[int]) -> None:
    assert encoder().encode(text) == ids


def test_a_special_token_of_more_than_64_bytes_is_not_found() -> None:
    found = encoder().encode("<" + "a" * 63 + ">")
    assert found is not None
    assert TOO_LONG not in found
    assert found[0] == OPEN


def test_a_score_at_the_floor_merges_nothing_and_any_other_does() -> None:
    assert encoder(bb=-1e10).encode("bb") == [B, B]
    assert encoder(bb=-9999999999.5).encode("bb") == [len(PIECES)]


def test_a_piece_ends_at_a_zero_byte_and_an_empty_one_is_no_special_token() -> None:
    assert encoder(**{"c\0d\0": -1e6, "": -1e6}).encode("c<a") == [len(PIECES), OPEN, A]


def test_a_byte_without_a_piece_has_no_ids() -> None:
    assert encoder().encode("ac") is None


class Library:
    name = "x"
    finds_added = True

    def __init__(self, missing: int = 0) -> None:
        self.sizes: list[int] = []
        self.missing = missing

    def encode(self, texts: Sequence[str], *, special: bool) -> list[list[int]]:
        assert not special
        self.sizes.append(len(texts))
        return [[AB] for _ in texts[self.missing :]]

    def decode(self, texts: Sequence[Sequence[int]]) -> list[str]:
        raise AssertionError(texts)


TOKENS = PlainTokens("qwen3c", tuple(PIECES), tuple(PIECES.values()), 64, 0, 1)


def test_texts_that_differ_are_counted_and_a_thousand_are_encoded_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    work: list[float] = []
    monkeypatch.setattr("verify.tokenizers.qwen3c_encoder.pulse", work.append)
    library = Library()
    texts = (text for text in ["ab", "a", "c", "ab", "ab"] * 201)
    assert encoded_otherwise(texts, TOKENS, library) == (402, 1005)
    assert library.sizes == [1000, 5]
    assert work == [1000 * ENCODED, 5 * ENCODED]


def test_a_library_answers_every_text() -> None:
    with pytest.raises(ValueError, match="shorter"):
        encoded_otherwise(["ab", "a"], TOKENS, Library(missing=1))
