"""Vocabulary, merges and added tokens that fit each other, and every way not to; GPT-2's letters; sizes of pieces."""

from __future__ import annotations

from typing import Any

import pytest
from tokenizers.pre_tokenizers import ByteLevel

from exporter.errors import CheckpointError
from exporter.tokenizers.added_tokens import encoded, read_added_token
from exporter.tokenizers.byte_letters import bytes_of
from exporter.tokenizers.model import (
    LONGEST_PIECE,
    MOST_TEMPLATE_BYTES,
    MOST_TOKENS,
    SCORE_FLOOR,
    AddedToken,
    TokenizerModel,
    byte_piece,
)
from exporter.tokenizers.vocabulary import Vocabulary, build_vocabulary

VOCAB: dict[str, Any] = {"a": 0, "b": 1, "ab": 2, "\u0120": 4}


def build(
    vocab: dict[str, Any] = VOCAB, merges: Any = (("a", "b"),), added: Any = (), kind: Any = "bytes"
) -> Vocabulary:
    return build_vocabulary("here", kind, vocab, merges, added)


def refusal(*given: Any, **named: Any) -> str:
    with pytest.raises(CheckpointError) as refused:
        build(*given, **named)
    return str(refused.value).removeprefix("here: ")


def test_pieces_by_id_and_merges_as_ids() -> None:
    assert build() == Vocabulary((b"a", b"b", b"ab", b"", b" "), ((0, 1),), (), VOCAB)
    characters = build({"\u00e9": 1}, (), kind="characters")
    assert characters.pieces == (b"", "\u00e9".encode())
    assert build({}, ()) == Vocabulary((), (), (), {})


def test_added_tokens_stand_in_the_order_of_their_ids() -> None:
    first, second, old = AddedToken(6), AddedToken(3, special=False), AddedToken(1)
    found = build(added=[("<y>", first), ("a b", second), ("b", old)])
    assert found.added == (old, second, first)
    assert found.pieces == (b"a", b"b", b"ab", b"a b", b" ", b"", b"<y>")
    assert found.ids == {**VOCAB, "a b": 3, "<y>": 6}


@pytest.mark.parametrize(
    ("added", "message"),
    [
        ([("b", 5)], "added token 'b': expected an id of its own as in the vocabulary, found 5 beside 1"),
        ([("<y>", 1)], "added token '<y>': expected an id of its own as in the vocabulary, found 1 beside 'b'"),
        ([("<y>", 5), ("<z>", 5)],
         "added token '<z>': expected an id of its own as in the vocabulary, found 5 beside '<y>'"),
        ([("\u0120", 4)], "added token '\\u0120': expected one meaning, found letters that stand for other bytes"),
    ],
)  # fmt: skip
def test_added_tokens_that_do_not_fit_are_refused(added: list[tuple[str, int]], message: str) -> None:
    assert refusal(added=[(text, AddedToken(token)) for text, token in added]) == message


@pytest.mark.parametrize(
    ("vocab", "message"),
    [
        ({"a": -1}, "vocab: 'a': expected an id from 0 to 16777215, found -1"),
        ({"a": 1 << 24}, "vocab: 'a': expected an id from 0 to 16777215, found 16777216"),
        ({"a": True}, "vocab: 'a': expected an id from 0 to 16777215, found True"),
        ({"a": 1.0}, "vocab: 'a': expected an id from 0 to 16777215, found 1.0"),
        ({"a": 1, "b": 1}, "vocab: 'b': expected an id of its own, found 1 again"),
        ({"": 0}, "vocab: id 0: expected 1 to 65536 characters, found 0"),
        ({"a" * 65537: 0}, "vocab: id 0: expected 1 to 65536 characters, found 65537"),
        ({"a b": 3}, "vocab: expected letters that stand for bytes, found 'a b' at id 3"),
    ],
)
def test_a_vocabulary_that_is_none_is_refused(vocab: dict[str, Any], message: str) -> None:
    assert refusal(vocab, ()) == message


def test_the_longest_piece_fits() -> None:
    assert build({"a" * 65536: 0}, ()).pieces == (b"a" * 65536,)


def test_half_a_character_is_refused() -> None:
    found = refusal({"\ud800": 0}, (), kind="characters")
    assert found == "vocab: expected text that UTF-8 can express, found '\\ud800'"
    assert encoded("here", "\u00e9") == b"\xc3\xa9"


@pytest.mark.parametrize(
    ("merges", "message"),
    [
        ([("a", "b"), ("q", "b")], "merges: 1: expected pieces of the vocabulary, found 'q'"),
        ([("a", "q")], "merges: 0: expected pieces of the vocabulary, found 'q'"),
        ([("b", "a")], "merges: 0: expected pieces of the vocabulary, found 'ba'"),
        ([("a", "b"), ("a", "b")], "merges: 1: expected a new pair, found that of 0"),
    ],
)
def test_merges_that_do_not_fit_are_refused(merges: list[tuple[str, str]], message: str) -> None:
    assert refusal(merges=merges) == message


def read(token: object, **entry: object) -> tuple[str, AddedToken]:
    return read_added_token("here", token, {"content": "<y>", **entry})


def test_an_added_token_has_its_flags() -> None:
    plain = AddedToken(0, special=False)
    assert read(0) == ("<y>", plain)
    for name in ("special", "lstrip", "rstrip", "single_word", "normalized"):
        [(text, token)] = [read((1 << 24) - 1, **{name: True})]
        flags = [field for field, value in vars(token).items() if value is True]
        assert (text, token.id, flags) == ("<y>", (1 << 24) - 1, [name])
    for text in ("a", "a" * 65536):
        assert read(3, content=text)[0] == text


@pytest.mark.parametrize(
    ("token", "entry", "message"),
    [
        (0, {"content": ""}, "content: expected a text of 1 to 65536 bytes, found ''"),
        (0, {"content": 3}, "content: expected a text of 1 to 65536 bytes, found 3"),
        (0, {"content": "\u00e9" * 32769}, "content: expected a text of 1 to 65536 bytes, found '"),
        (-1, {}, "id: expected 0 to 16777215, found -1"),
        (1 << 24, {}, "id: expected 0 to 16777215, found 16777216"),
        (True, {}, "id: expected 0 to 16777215, found True"),
        ("1", {}, "id: expected 0 to 16777215, found '1'"),
        (0, {"special": 1}, "special: expected true or false, found 1"),
    ],
)
def test_an_added_token_of_other_values_is_refused(token: object, entry: dict[str, object], message: str) -> None:
    with pytest.raises(CheckpointError) as refused:
        read(token, **entry)
    assert str(refused.value).startswith(f"here: {message}")


def test_letters_are_those_of_the_library() -> None:
    step = ByteLevel(add_prefix_space=False, use_regex=False)
    text = "".join(map(chr, range(0x80))) + "".join(map(chr, range(0x80, 0x800, 7))) + "\uffff\U0001f680\U0010ffff"
    [(letters, _)] = step.pre_tokenize_str(text)
    assert bytes_of(letters) == text.encode()
    # and the bytes that stand in no text
    assert sorted(bytes_of(letter) or b"" for letter in ByteLevel.alphabet()) == [bytes([n]) for n in range(256)]
    assert bytes_of("") == b""
    for other in (" ", "\u0144", "a\u00ad", "\t"):
        assert bytes_of(other) is None


def test_an_id_is_shown_with_its_piece() -> None:
    model = TokenizerModel("here", "bytes", (b"\xffa", b"a" * 50))
    assert (model.shown(0), model.shown(1)) == ("0 '\\\\xffa'", f"1 '{'a' * 40}'")
    assert (byte_piece(10), byte_piece(255)) == (b"<0x0A>", b"<0xFF>")


def test_a_model_does_nothing_that_it_does_not_say() -> None:
    rules = ("begins_with_bos", "ends_with_eos", "nfc", "digits", "space_first", "byte_fallback")
    for name in (*rules, "whole_words", "strips_spaces"):
        assert getattr(TokenizerModel("here", "bytes", (b"a",)), name) is False
    flags = {"special": True, "lstrip": False, "rstrip": False, "single_word": False, "normalized": False}
    assert vars(AddedToken(3)) == {"id": 3, **flags}
    assert (MOST_TOKENS, LONGEST_PIECE, MOST_TEMPLATE_BYTES, SCORE_FLOOR) == (2**24, 2**16, 2**20, -(10.0**10))
