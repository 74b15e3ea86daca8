"""What texts are drawn of, number by number: scripts, sizes, shares, and what a format cannot hold."""

from __future__ import annotations

import random
import unicodedata
from collections import Counter
from dataclasses import replace
from typing import Any

import pytest

from verify.tokenizers import drawn_texts
from verify.tokenizers.drawn_texts import TEXTS, Drawing
from verify.tokenizers.rules import SPACE, Rules, SourceRules

RULES = Rules(kind="bytes", pieces=(b"a", b" the", b"\xff", b"<|end|>", b""), added={3: 1, 4: 1})


class Bound(random.Random):
    """Draws the smallest or the largest number, and the first or the last of a choice."""

    def __init__(self, *, largest: bool) -> None:
        super().__init__(0)
        self.largest = largest

    def randint(self, a: int, b: int) -> int:
        return b if self.largest else a

    def choice(self, seq: Any) -> Any:
        return seq[-1 if self.largest else 0]


def test_how_many_texts_a_depth_compares() -> None:
    assert TEXTS == {"quick": 2000, "standard": 20000, "full": 200000}


def test_each_script_is_drawn_from_its_first_letter_to_its_last() -> None:
    names = [[unicodedata.name(chr(end), f"{end:x}") for end in ends] for ends in drawn_texts._RANGES]
    assert names == [
        ["SPACE", "TILDE"],
        ["INVERTED EXCLAMATION MARK", "LATIN SMALL LETTER LONG S"],
        ["GREEK CAPITAL LETTER HETA", "GREEK CAPITAL REVERSED DOTTED LUNATE SIGMA SYMBOL"],
        ["CYRILLIC CAPITAL LETTER IE WITH GRAVE", "CYRILLIC SMALL LETTER DZHE"],
        ["HEBREW LETTER ALEF", "HEBREW LETTER TAV"],
        ["ARABIC LETTER HAMZA", "ARABIC LETTER YEH"],
        ["ARABIC-INDIC DIGIT ZERO", "ARABIC-INDIC DIGIT NINE"],
        ["DEVANAGARI LETTER A", "DEVANAGARI LETTER HA"],
        ["THAI CHARACTER KO KAI", "THAI CHARACTER PHINTHU"],
        ["HANGUL CHOSEONG KIYEOK", "HANGUL JONGSEONG SSANGNIEUN"],
        ["EN QUAD", "NOMINAL DIGIT SHAPES"],
        ["VULGAR FRACTION ONE SEVENTH", "VULGAR FRACTION ZERO THIRDS"],
        ["HIRAGANA LETTER SMALL A", "KATAKANA DIGRAPH KOTO"],
        ["CJK UNIFIED IDEOGRAPH-4E00", "CJK UNIFIED IDEOGRAPH-9FA5"],
        ["HANGUL SYLLABLE GA", "HANGUL SYLLABLE HIH"],
        ["MATHEMATICAL BOLD CAPITAL A", "MATHEMATICAL MONOSPACE DIGIT NINE"],
        ["CYCLONE", "PERSON WITH FOLDED HANDS"],
    ]


def test_marks_and_control_characters_are_all_of_their_kind() -> None:
    assert [unicodedata.name(mark) for mark in drawn_texts._MARKS] == [
        "COMBINING GRAVE ACCENT",
        "COMBINING ACUTE ACCENT",
        "COMBINING CIRCUMFLEX ACCENT",
        "COMBINING DIAERESIS",
        "COMBINING RING ABOVE",
        "COMBINING DOT BELOW",
        "COMBINING CEDILLA",
        "HEBREW POINT SHEVA",
        "ARABIC FATHATAN",
        "DEVANAGARI SIGN NUKTA",
        "THAI CHARACTER SARA U",
        "COMBINING KATAKANA-HIRAGANA VOICED SOUND MARK",
    ]
    # all but the zero, which ends a text in C
    every = {chr(code) for code in range(1, 0x110000) if unicodedata.category(chr(code)) == "Cc"}
    assert set(drawn_texts._CONTROLS) == every


def test_any_character_is_one_that_is_assigned_on_the_first_three_planes() -> None:
    found = drawn_texts._assigned()
    assert (found[0], found == tuple(sorted(set(found)))) == (1, True)
    assert 0x2FA1D in found  # the last of plane 2
    assert not any(code in found for code in (0, 0x378, 0xD800, 0xE000, 0xFFFF, 0x30000))


@pytest.mark.parametrize(
    ("part", "fewest", "most"),
    [
        (drawn_texts._word, 1, 10),  # 9 letters and a space
        (drawn_texts._digits, 1, 9),
        (drawn_texts._of_a_script, 1, 6),
        (drawn_texts._marked, 2, 4),
        (drawn_texts._punctuation, 1, 4),
        (drawn_texts._any_character, 1, 1),
    ],
)
def test_a_part_has_so_many_characters(part: Any, fewest: int, most: int) -> None:
    assert [len(part(Bound(largest=largest))) for largest in (False, True)] == [fewest, most]


def test_what_is_not_assigned_is_left_out() -> None:
    class Hole(Bound):
        def randint(self, a: int, b: int) -> int:
            return b if a == 1 else 0x378

        def choice(self, seq: Any) -> Any:
            return seq[2]

    assert drawn_texts._of_a_script(Hole(largest=False)) == ""


def test_how_often_each_kind_of_part_is_drawn() -> None:
    counts = Counter(drawn_texts._KINDS)
    own = (drawn_texts._word, None, drawn_texts._of_a_script, drawn_texts._digits, drawn_texts._any_character)
    assert [counts[part] for part in own] == [4, 3, 2, 1, 1]
    assert sorted(counts.values()) == [1, 1, 1, 1, 1, 1, 1, 2, 3, 3, 4]


@pytest.mark.parametrize(("largest", "parts"), [(False, 1), (True, 12)])
def test_a_text_has_1_to_12_parts(monkeypatch: pytest.MonkeyPatch, largest: bool, parts: int) -> None:
    drawing = Drawing(SourceRules(RULES), 3, added=True)
    drawing._random = Bound(largest=largest)
    monkeypatch.setattr(drawing, "_part", lambda: "x")
    assert list(drawing.texts(13))[-1] == "x" * parts


def test_half_of_what_is_known_is_added_tokens() -> None:
    drawing = Drawing(SourceRules(replace(RULES, added={3: 1})), 3, added=True)
    draws: list[float] = [0.0, 0.4999, 0.5, 0.9]
    drawing._random.random = lambda: draws.pop(0)  # type: ignore[method-assign]
    drawing._random.choice = lambda seq: seq[0]  # type: ignore[method-assign]
    assert [drawing._known() for _ in range(4)] == ["<|end|>", "<|end|>", "a", "a"]


def test_without_added_tokens_pieces_alone_are_known() -> None:
    drawing = Drawing(SourceRules(RULES), 3, added=False)
    assert {drawing._known() for _ in range(50)} == {"a", " the"}  # no text is the byte 0xff
    nothing = Drawing(SourceRules(Rules(kind="bytes", pieces=(b"\xff",))), 3, added=True)
    assert nothing._known() == ""


def test_pieces_of_characters_have_spaces_and_those_of_bytes_have_none() -> None:
    pieces = (SPACE.encode() + b"the",)
    for kind, text in (("characters", " the"), ("bytes", f"{SPACE}the")):
        rules = Rules(kind=kind, pieces=pieces)  # type: ignore[arg-type]
        assert Drawing(SourceRules(rules), 3, added=True)._known() == text


def test_a_text_loses_what_it_may_not_have() -> None:
    assert Drawing(SourceRules(RULES), 3, added=False).fitting("a<|end|> b") == "a b"
    assert Drawing(SourceRules(RULES), 3, added=True).fitting("a<|end|> b") == "a<|end|> b"
    single = SourceRules(replace(RULES, single_spaces=True))
    assert Drawing(single, 3, added=True, spaces=False).fitting("  a   b ") == "a b"
    # unless the caller says otherwise, spaces may stay
    assert Drawing(single, 3, added=True).fitting("  a   b ") == "  a   b "
    assert Drawing(SourceRules(RULES), 3, added=True, spaces=False).fitting("  a ") == "  a "
