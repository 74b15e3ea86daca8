"""Diagnoses of tokenizers: one mistake by its name, several in one sentence, and none where no mistake fits."""

from __future__ import annotations

from dataclasses import replace

import pytest

from verify.diagnosis.tokenizer import diagnose_tokenizer
from verify.diagnosis.tokenizer_mistakes import MISTAKES, SWITCHES
from verify.tokenizers.differences import differences
from verify.tokenizers.rules import Rules, SourceRules

RIGHT = Rules(
    kind="bytes",
    pieces=(b"a", b"b", b"c", b"ab", b"abc", b"<s>", b"</s>"),
    merges=((0, 1), (3, 2)),
    added={5: 1, 6: 1},
    pre_tokenizer="gpt2",
    bos=5,
    eos=6,
    ends=(6,),
    template="<s>{{ x }}",
)


def diagnosed(found: Rules, right: Rules = RIGHT) -> tuple[str, str, float] | None:
    source = SourceRules(right)
    fields = [one.field for one in differences(source, found)]
    diagnosis = diagnose_tokenizer(source, found, fields)
    return None if diagnosis is None else (diagnosis.signature, diagnosis.sentence, diagnosis.explained)


def test_one_mistake_explains_everything() -> None:
    assert diagnosed(replace(RIGHT, nfc=True)) == (
        "nfc-unasked",
        "the tokenizer: a text is normalized to NFC, and the source does not normalize",
        1.0,
    )


def test_two_mistakes_stand_in_one_sentence() -> None:
    found = diagnosed(replace(RIGHT, merges=RIGHT.merges[::-1], ends=()))
    assert found == (
        "merges-reversed",
        "the tokenizer: the merges stand in reverse order; </s> (id 6) does not end a text",
        1.0,
    )


def test_what_is_left_is_named() -> None:
    found = diagnosed(replace(RIGHT, merges=RIGHT.merges[::-1], template="<s>{{ y }}"))
    assert found is not None
    assert found[1].endswith("; this leaves template unexplained")
    assert found[2] == 0.5


@pytest.mark.parametrize(
    "found",
    [
        replace(RIGHT, pieces=(b"x", *RIGHT.pieces[1:])),
        replace(RIGHT, pieces=(b"x", *RIGHT.pieces[1:]), nfc=True),
        replace(RIGHT, merges=((0, 1), (0, 2))),
        replace(RIGHT, kind="characters"),
    ],
    ids=["a piece", "a piece, and a switch that may follow", "a merge", "the kind"],
)
def test_what_no_mistake_gives_has_no_name(found: Rules) -> None:
    assert diagnosed(found) is None


def test_names_are_of_one_mistake_each() -> None:
    names = [name for mistakes in MISTAKES.values() for name, _ in mistakes]
    names += [name for pair in SWITCHES.values() for name, _ in pair]
    assert len(names) == len(set(names))
