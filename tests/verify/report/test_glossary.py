"""Every word that the page explains is in the glossary, and every bound has its meaning."""

from __future__ import annotations

import typing

from verify.checks.result import Bound
from verify.report.glossary import KEYS, TERMS


def test_each_label_leads_to_a_word() -> None:
    assert set(KEYS.values()) <= TERMS.keys()


def test_each_kind_of_bound_is_explained() -> None:
    kinds = typing.get_args(Bound)
    assert len(kinds) == 5
    for kind in kinds:
        assert TERMS[KEYS[kind]][0] == kind


def test_a_meaning_is_one_or_two_sentences_that_a_hint_has_room_for() -> None:
    for word, meaning in TERMS.values():
        assert word
        assert meaning.endswith(".")
        assert len(meaning) <= 160
