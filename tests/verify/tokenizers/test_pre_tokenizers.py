"""The pre-tokenizers of byte-level BPE: the steps that a format holds, each other one named, and GPT-2's letters."""

from __future__ import annotations

from typing import Any

import pytest
from tokenizers.pre_tokenizers import ByteLevel

from verify.tokenizers.pre_tokenizers import GPT2, LETTERS, LLAMA3, QWEN2, bytes_of_letters, pre_tokenizer_of
from verify.tokenizers.rules import NotHeldError

_TWICE = "two regular expressions, one after the other"
BYTES = {"type": "ByteLevel", "add_prefix_space": False, "use_regex": False}
DIGITS = {"type": "Digits", "individual_digits": True}


def split(pattern: str, behavior: str = "Isolated", **others: object) -> dict[str, object]:
    return {"type": "Split", "pattern": {"Regex": pattern}, "behavior": behavior, **others}


def test_every_byte_has_the_letter_that_the_library_gives_it() -> None:
    assert set(LETTERS) == set(ByteLevel.alphabet())
    assert sorted(LETTERS.values()) == list(range(256))
    # the library writes the bytes of UTF-8, which are all but those that no character has
    for letter, byte in LETTERS.items():
        if byte < 0x80:
            [(text, _)] = ByteLevel(add_prefix_space=False, use_regex=False).pre_tokenize_str(chr(byte))
            assert text == letter
    [(text, _)] = ByteLevel(add_prefix_space=False, use_regex=False).pre_tokenize_str("\u00ad\u00ff\u00a0\u0100")
    assert bytes_of_letters(text) == "\u00ad\u00ff\u00a0\u0100".encode()


def test_a_letter_of_no_byte_is_named() -> None:
    with pytest.raises(NotHeldError, match=r"^a piece 'a b', which is not of GPT-2's letters for bytes$"):
        bytes_of_letters("a b")


@pytest.mark.parametrize(
    ("steps", "expected"),
    [
        ([BYTES], ("none", False, False)),
        ([BYTES | {"use_regex": True}], ("gpt2", False, False)),
        ([{"type": "ByteLevel"}], ("gpt2", False, True)),
        ([BYTES | {"add_prefix_space": True}], ("none", False, True)),
        ([split(GPT2), BYTES], ("gpt2", False, False)),
        ([split(LLAMA3, invert=False), BYTES], ("llama3", False, False)),
        ([split(QWEN2), BYTES], ("qwen2", False, False)),
        ([DIGITS, BYTES | {"use_regex": True}], ("gpt2", True, False)),
        ([DIGITS, split(LLAMA3), BYTES], ("llama3", True, False)),
        ([DIGITS, BYTES], ("none", True, False)),
    ],
)
def test_steps_that_a_format_holds(steps: list[dict[str, Any]], expected: tuple[str, bool, bool]) -> None:
    name, digits, prefix = expected
    assert pre_tokenizer_of(steps) == {"pre_tokenizer": name, "digits": digits, "prefix": prefix}


@pytest.mark.parametrize(
    ("steps", "what"),
    [
        ([{"type": "Digits"}, BYTES], "a pre-tokenizer that keeps digits together"),
        ([DIGITS | {"individual_digits": False}, BYTES], "a pre-tokenizer that keeps digits together"),
        ([DIGITS], "the pre-tokenizers Digits"),
        ([split(GPT2)], "the pre-tokenizers Split"),
        ([BYTES, BYTES], "the pre-tokenizers ByteLevel, ByteLevel"),
        ([{"type": "Whitespace"}], "the pre-tokenizers Whitespace"),
        ([split(GPT2), BYTES | {"use_regex": True}], _TWICE),
        (
            [split(GPT2), {"type": "ByteLevel", "add_prefix_space": False}],
            _TWICE,
        ),
        ([split(GPT2), BYTES | {"add_prefix_space": True}], "a space before every part of a text"),
        ([DIGITS, BYTES | {"add_prefix_space": True}], "a space before every part of a text"),
        ([split("x" * 70), BYTES], f"the regular expression {'x' * 70!r:.60}"),
        ([split(GPT2, invert=True), BYTES], f"the regular expression {GPT2!r:.60}"),
        ([split(GPT2, "MergedWithNext"), BYTES], f"the regular expression {GPT2!r:.60}"),
        ([split(GPT2, "Removed"), BYTES], "a regular expression whose matches are removed"),
        ([split(GPT2) | {"pattern": {"String": " "}}, BYTES], "the regular expression None"),
    ],
)
def test_other_steps_are_named(steps: list[dict[str, Any]], what: str) -> None:
    with pytest.raises(NotHeldError) as error:
        pre_tokenizer_of(steps)
    assert str(error.value) == what
