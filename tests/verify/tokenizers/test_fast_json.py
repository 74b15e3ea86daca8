"""The rules of a tokenizer.json by hand: what each key means, and each thing that no format holds."""

from __future__ import annotations

from typing import Any

import pytest

from verify.tokenizers.fast_json import rules_of_json
from verify.tokenizers.rules import NONE, NotHeldError, Rules

SPACE = "\u2581"
BYTE_LEVEL = {"type": "ByteLevel", "add_prefix_space": False, "use_regex": True}
REPLACE = {"type": "Replace", "pattern": {"String": " "}, "content": SPACE}
PREPEND = {"type": "Prepend", "prepend": SPACE}
METASPACE = {"type": "Metaspace", "replacement": SPACE, "prepend_scheme": "always", "split": False}
SPLIT = {"type": "Split", "pattern": {"String": " "}, "behavior": "MergedWithPrevious", "invert": False}
NFC = {"type": "NFC"}


def in_order(kind: str, *steps: dict[str, Any]) -> dict[str, Any]:
    return {"type": "Sequence", kind: list(steps)}


def by_bytes(**changes: Any) -> dict[str, Any]:
    """A vocabulary with a letter for a space, and one id without a piece."""
    vocab = {"a": 0, "b": 1, "ab": 2, "\u0120": 3, "x": 5}
    return {"model": {"type": "BPE", "vocab": vocab, "merges": ["a b"]}, "pre_tokenizer": BYTE_LEVEL} | changes


def by_characters(**changes: Any) -> dict[str, Any]:
    model = {"vocab": {"a": 0, SPACE: 1, f"{SPACE}a": 2, "<unk>": 3}, "merges": [[SPACE, "a"]]}
    return {"model": model, "normalizer": REPLACE} | changes


def with_model(said: dict[str, Any], **changes: Any) -> dict[str, Any]:
    return said | {"model": said["model"] | changes}


def test_byte_level_pieces_are_bytes() -> None:
    pieces = (b"a", b"b", b"ab", b" ", b"", b"x")
    expected = Rules(kind="bytes", pieces=pieces, merges=((0, 1),), pre_tokenizer="gpt2")
    assert rules_of_json(by_bytes()) == expected
    assert rules_of_json(with_model(by_bytes(), merges=[["a", "b"]])) == expected


def test_pieces_of_characters_are_their_text() -> None:
    pieces = (b"a", SPACE.encode(), f"{SPACE}a".encode(), b"<unk>")
    assert rules_of_json(by_characters()) == Rules(kind="characters", pieces=pieces, merges=((1, 0),))


def test_a_model_without_merges_over_bytes_has_none() -> None:
    said = with_model(by_bytes(), merges=None)
    assert rules_of_json(said).merges == ()
    with pytest.raises(NotHeldError, match=r"^characters without merges or scores$"):
        rules_of_json(with_model(by_characters(), merges=[]))


@pytest.mark.parametrize("merge", ["a q", "b a", ["a", "q"], "a b x"])
def test_a_merge_that_the_library_refuses_is_of_unknown_structure(merge: Any) -> None:
    with pytest.raises((KeyError, ValueError)):
        rules_of_json(with_model(by_bytes(), merges=[merge]))


@pytest.mark.parametrize("key", ["ignore_merges", "byte_fallback"])
def test_switches_of_the_model(key: str) -> None:
    for value in (True, False, None):
        assert getattr(rules_of_json(with_model(by_characters(), **{key: value})), key) == bool(value)
    # no byte is unknown to byte-level BPE
    found = rules_of_json(with_model(by_bytes(), ignore_merges=True, byte_fallback=True))
    assert (found.ignore_merges, found.byte_fallback) == (True, False)


def test_unk_is_an_id_of_the_vocabulary() -> None:
    assert rules_of_json(with_model(by_characters(), unk_token="<unk>")).unk == 3
    assert rules_of_json(with_model(by_characters(), unk_token="a")).unk == 0
    assert rules_of_json(with_model(by_characters(), unk_token=None)).unk == NONE
    with pytest.raises(KeyError):
        rules_of_json(with_model(by_characters(), unk_token="q"))


@pytest.mark.parametrize(
    ("key", "flag"), [("special", 1), ("lstrip", 2), ("rstrip", 4), ("single_word", 8), ("normalized", 16)]
)
def test_flags_of_an_added_token(key: str, flag: int) -> None:
    every = dict.fromkeys(("special", "lstrip", "rstrip", "single_word", "normalized"), True)
    tokens = [{"id": 7, "content": "<y>", **every}, {"id": 4, "content": "<z>", key: True}]
    found = rules_of_json(by_bytes(added_tokens=tokens))
    assert list(found.added.items()) == [(4, flag), (7, 31)]
    assert found.pieces[4:] == (b"<z>", b"x", b"", b"<y>")


def test_an_added_token_s_text_is_not_written_in_letters() -> None:
    # "a b" has no letters for bytes, and the vocabulary may hold it too
    said = with_model(by_bytes(), vocab={"a": 0, "b": 1, "ab": 2, "a b": 3})
    assert rules_of_json(said | {"added_tokens": [{"id": 3, "content": "a b"}]}).pieces[3] == b"a b"
    with pytest.raises(NotHeldError, match="not of GPT-2's letters"):
        rules_of_json(said)


@pytest.mark.parametrize(
    ("model", "what"),
    [
        ({"type": "WordPiece"}, "a model of the type 'WordPiece'"),
        ({"dropout": 0.25}, "dropout 0.25"),
        ({"continuing_subword_prefix": "##"}, "continuing_subword_prefix '##'"),
        ({"end_of_word_suffix": "</w>"}, "end_of_word_suffix '</w>'"),
    ],
)
def test_models_that_no_format_holds(model: dict[str, Any], what: str) -> None:
    with pytest.raises(NotHeldError) as error:
        rules_of_json(with_model(by_bytes(), **model))
    assert str(error.value) == what
    off = {"dropout": None, "continuing_subword_prefix": "", "end_of_word_suffix": None}
    assert rules_of_json(with_model(by_bytes(), **off)) == rules_of_json(by_bytes())


@pytest.mark.parametrize(
    ("changes", "nfc"),
    [
        ({}, False),
        ({"normalizer": None}, False),
        ({"normalizer": NFC}, True),
        ({"normalizer": in_order("normalizers", NFC)}, True),
        ({"normalizer": in_order("normalizers")}, False),
        ({"pre_tokenizer": in_order("pretokenizers", in_order("pretokenizers", BYTE_LEVEL))}, False),
    ],
)
def test_steps_before_byte_level_bpe(changes: dict[str, Any], nfc: bool) -> None:
    found = rules_of_json(by_bytes(**changes))
    assert (found.kind, found.nfc, found.pre_tokenizer) == ("bytes", nfc, "gpt2")


@pytest.mark.parametrize(
    ("normalizer", "what"),
    [
        ({"type": "NFD"}, "a normalizer NFD"),
        (in_order("normalizers", NFC, {"type": "Lowercase"}), "a normalizer NFC and Lowercase"),
    ],
)
def test_normalizers_that_byte_level_bpe_does_not_have(normalizer: dict[str, Any], what: str) -> None:
    with pytest.raises(NotHeldError) as error:
        rules_of_json(by_bytes(normalizer=normalizer))
    assert str(error.value) == what


@pytest.mark.parametrize(
    ("normalizer", "pre_tokenizer", "nfc", "prefix"),
    [
        (REPLACE, None, False, False),
        (in_order("normalizers", PREPEND, REPLACE), None, False, True),
        (in_order("normalizers", NFC, REPLACE), None, True, False),
        (in_order("normalizers", NFC, PREPEND, REPLACE), None, True, True),
        (REPLACE, SPLIT, False, False),
        (None, METASPACE, False, True),
        (None, METASPACE | {"prepend_scheme": "never"}, False, False),
        (None, METASPACE | {"prepend_scheme": "first"}, False, True),
        (None, {"type": "Metaspace", "split": False}, False, True),
        (NFC, METASPACE, True, True),
    ],
)
def test_steps_before_bpe_over_characters(normalizer: Any, pre_tokenizer: Any, nfc: bool, prefix: bool) -> None:
    found = rules_of_json(by_characters(normalizer=normalizer, pre_tokenizer=pre_tokenizer))
    assert (found.kind, found.nfc, found.prefix, found.pre_tokenizer) == ("characters", nfc, prefix, "none")


_SPACES_STAY = "pieces in which a space does not become U+2581"
_SPLITS = "a pre-tokenizer Metaspace that splits at spaces"


@pytest.mark.parametrize(
    ("normalizer", "pre_tokenizer", "what"),
    [
        (None, None, _SPACES_STAY),
        (PREPEND, None, _SPACES_STAY),
        (NFC, None, _SPACES_STAY),
        (None, SPLIT, "a pre-tokenizer Split"),
        (REPLACE, SPLIT | {"pattern": {"Regex": " "}}, "a pre-tokenizer Split"),
        (REPLACE, {"type": "Whitespace", "pattern": {"String": " "}}, "a pre-tokenizer Whitespace"),
        (REPLACE, in_order("pretokenizers", SPLIT, {"type": "Digits"}), "a pre-tokenizer Split"),
        (REPLACE, METASPACE, "a pre-tokenizer Metaspace"),
        (PREPEND, METASPACE, "a pre-tokenizer Metaspace"),
        (None, in_order("pretokenizers", METASPACE, METASPACE), "a pre-tokenizer Metaspace"),
        (None, METASPACE | {"split": True}, _SPLITS),
        (None, {"type": "Metaspace"}, _SPLITS),
        (None, METASPACE | {"replacement": "_"}, _SPLITS),
        (PREPEND | {"prepend": "_"}, None, "a normalizer Prepend"),
        (in_order("normalizers", REPLACE, PREPEND), None, "a normalizer Replace"),
        (in_order("normalizers", PREPEND, NFC), None, "a normalizer NFC"),
        (in_order("normalizers", PREPEND, PREPEND), None, "a normalizer Prepend"),
        (REPLACE | {"content": "_"}, None, "a normalizer Replace"),
        (REPLACE | {"pattern": {"String": "  "}}, None, "a normalizer Replace"),
        (REPLACE | {"type": "Other"}, None, "a normalizer Other"),
    ],
)
def test_steps_that_bpe_over_characters_does_not_have(normalizer: Any, pre_tokenizer: Any, what: str) -> None:
    with pytest.raises(NotHeldError) as error:
        rules_of_json(by_characters(normalizer=normalizer, pre_tokenizer=pre_tokenizer))
    assert str(error.value) == what


def test_the_largest_id_decides_the_count() -> None:
    most = 1 << 24
    for said in (
        with_model(by_bytes(), vocab={"a": most, "b": 1, "ab": 2}),
        by_bytes(added_tokens=[{"id": most, "content": "<y>"}]),
    ):
        with pytest.raises(NotHeldError, match=r"^an id of 16777216$"):
            rules_of_json(said)
    assert len(rules_of_json(by_bytes(added_tokens=[{"id": most - 1, "content": "<y>"}])).pieces) == most
