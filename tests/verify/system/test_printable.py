"""Text that others wrote reaches a terminal as one line that commands nothing."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from verify.system.printable import printable


@given(st.text())
def test_what_is_shown_is_printable_and_printable_text_is_shown_as_it_is(text: str) -> None:
    shown = printable(text)
    assert shown.isprintable()
    assert printable(shown) == shown
    if text.isprintable():
        assert shown == text


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("model\n.bin", r"model\n.bin"),
        ("\x1b[2Kmodel", r"\x1b[2Kmodel"),
        ("a\rb", r"a\rb"),
        ("\u202ebin.", r"\u202ebin."),
        ("\udcff", r"\udcff"),
        ("größer", "größer"),
    ],
)
def test_a_control_character_is_shown_as_its_escape(text: str, shown: str) -> None:
    assert printable(text) == shown
