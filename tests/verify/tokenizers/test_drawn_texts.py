"""Drawn texts: the same from the same seed, with what tokenizers differ on, and without what a format cannot hold."""

from __future__ import annotations

from dataclasses import replace

from verify.tokenizers.drawn_texts import Drawing
from verify.tokenizers.rules import Rules, SourceRules

RULES = Rules(kind="bytes", pieces=(b"a", b" the", b"\xff", b"<|end|>"), added={3: 1})


def drawn(
    source: SourceRules,
    count: int = 1500,
    seed: int = 3,
    *,
    added: bool = True,
    without: str = "",
    spaces: bool = True,
) -> list[str]:
    return list(Drawing(source, seed, added=added, without=without, spaces=spaces).texts(count))


def test_the_seed_decides() -> None:
    source = SourceRules(RULES)
    assert drawn(source) == drawn(source)
    assert drawn(source)[12:] != drawn(source, seed=4)[12:]


def test_what_tokenizers_differ_on_is_there() -> None:
    every = "".join(drawn(SourceRules(RULES)))
    for needed in (" <|end|>", "<|end|> ", "\r\n", "\u0301", "\u200d", "\u00a0", "1234567", "'S", "\x01", " the"):
        assert needed in every
    for first, last in ((0x4E00, 0x9FA5), (0x905, 0x939), (0x1F300, 0x1F64F), (0x1D400, 0x1D7FF)):
        assert any(first <= ord(letter) <= last for letter in every)


def test_what_a_format_cannot_hold_is_not_there() -> None:
    assert "<|end|>" not in "".join(drawn(SourceRules(RULES), added=False))
    assert "1" not in "".join(drawn(SourceRules(RULES), without="1"))
    source = SourceRules(replace(RULES, single_spaces=True))
    assert all("  " not in text and text == text.strip(" ") for text in drawn(source, spaces=False))
    assert any("  " in text and text != text.strip(" ") for text in drawn(source))


def test_the_own_lines_come_first_and_count() -> None:
    drawing = Drawing(SourceRules(RULES), 3, added=True)
    texts = list(drawing.texts(100, ["mine", "x" * 900]))
    assert len(texts) == 100
    assert texts[12:14] == ["mine", "x" * 200]
