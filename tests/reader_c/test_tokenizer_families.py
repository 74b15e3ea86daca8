"""A tokenizer block against the libraries that wrote its source: tokenizers, and sentencepiece for scores."""

from __future__ import annotations

import functools
import itertools
import unicodedata
from collections.abc import Callable

import pytest
import sentencepiece
from helpers import trained_blocks
from helpers.drawn_words import HARD, MARKS, RANGES, SPACES
from helpers.tokenizer_blocks import from_tokenizer
from hypothesis import example, given
from hypothesis import strategies as st

import reader_c
from verify.demo import HELD_OUT_TEXT

PROSE = HELD_OUT_TEXT.read_text(encoding="utf-8")[:20_000]
SPELT = ["<|start|>", "<|end|>", "<|end|>of", "<mask>", "<gap>", "<both>", "word", "\u00e9t\u00e9", "Lord of", "<s>"]

# every border between a letter, a number, another character, a space and a line end, in threes
BORDERS = "".join(a + b + c for a in "a1.' \n" for b in " \n\r\t'" for c in "aT1'. \n")
# texts of one script, of a mixture, of what is hard, of prose, with added tokens between
TEXTS = st.lists(
    st.one_of(
        st.text(max_size=20),
        st.sampled_from(RANGES).flatmap(
            lambda limits: st.text(
                st.characters(min_codepoint=limits[0], max_codepoint=limits[1] - 1, exclude_categories=["Cs"]),
                max_size=20,
            )
        ),
        st.text(HARD, max_size=30),
        st.text(MARKS, max_size=20),
        st.text(SPACES + "a1.", max_size=20),
        st.integers(0, len(PROSE) - 60).map(lambda at: PROSE[at : at + 60]),
        st.sampled_from(SPELT),
    ),
    max_size=6,
).map("".join)


@functools.cache
def pair(name: str) -> tuple[Callable[[str, bool], list[int]], Callable[[list[int], bool], str], reader_c.Tokenizer]:
    """Return how the library encodes and decodes, and the reader's tokenizer."""
    library = trained_blocks.families()[name]
    block = from_tokenizer(library)

    def encode(text: str, special: bool) -> list[int]:
        library.encode_special_tokens = not special
        return library.encode(text, add_special_tokens=False).ids

    def decode(ids: list[int], special: bool) -> str:
        return library.decode(ids, skip_special_tokens=not special)

    return encode, decode, reader_c.Tokenizer.from_block(block.content(), len(block.pieces))


FAMILIES = (
    "GPT-2",
    "GPT-2, digits",
    "GPT-2, prefix",
    "Llama 3",
    "Llama 3, digits",
    "Qwen 2",
    "characters, byte pieces",
    "characters, unk",
)


@pytest.mark.parametrize("name", FAMILIES)
@given(text=TEXTS, special=st.booleans())
@example(text=BORDERS, special=False)
@example(text="<gap>    word words  <mask>  Lord of e\u0301te\u0301 <|end|>of<|end|>", special=True)
@example(text="'\u017f DON'T '\u017f\u017f I'LL\r\n\r\n  \n x\u0663\u00bd12345 \u2003\u3000 y", special=False)
@example(text="\u1112\u1161\u11ab\u0958\u212b a\u0334\u0301\u0327 \U00011935\U00011930 \u0898\u0334", special=True)
def test_tokens_and_text_are_those_of_the_library(name: str, text: str, special: bool) -> None:
    encode, decode, ours = pair(name)
    ids = encode(text, special)
    assert ours.encode(text, bos=False, eos=False, special=special) == ids
    assert ours.encode(text.encode(), bos=False, eos=False, special=special) == ids
    for shown in (True, False):
        found, expected = ours.decode(ids, special=shown).decode("utf-8", "replace"), decode(ids, shown)
        # the library shows an added token that it normalizes as normalized; it replaces bytes by its own rule
        if "\ufffd" not in expected:
            assert unicodedata.normalize("NFC", found) == unicodedata.normalize("NFC", expected)


# what SentencePiece models do with spaces, as options of the helpers
SPACES_OF_SCORES: dict[str, dict[str, bool]] = {
    "prefix": {},
    "no prefix": {"prefix": False},
    "removed": {"single_spaces": True},
    "removed, no prefix": {"single_spaces": True, "prefix": False},
}


@functools.cache
def scored(spaces: str) -> tuple[sentencepiece.SentencePieceProcessor, reader_c.Tokenizer]:
    options = SPACES_OF_SCORES[spaces]
    processor = trained_blocks.sentencepiece_model(**options)
    block = trained_blocks.scored(processor, **options)
    return processor, reader_c.Tokenizer.from_block(block.content(), len(block.pieces))


@pytest.mark.parametrize("spaces", SPACES_OF_SCORES)
@given(TEXTS.map(lambda text: text.replace("\0", " ")))
def test_tokens_of_scores_are_those_of_sentencepiece(spaces: str, text: str) -> None:
    theirs, ours = scored(spaces)
    assert ours.encode(text, special=False) == theirs.encode(text)


@pytest.mark.parametrize("spaces", SPACES_OF_SCORES)
def test_spaces_are_kept_and_removed_where_sentencepiece_does_it(spaces: str) -> None:
    """Of spaces, its own sign for them, a letter and a line end: every text of up to six, there and back."""
    theirs, ours = scored(spaces)
    short = ("".join(drawn) for size in range(7) for drawn in itertools.product(" \u2581a\n", repeat=size))
    for text in (*short, f"{' ' * 5000}a{' ' * 5000}", "a " * 5000):
        ids = theirs.encode(text)
        assert ours.encode(text, special=False) == ids, text
        assert ours.decode(ids).decode() == theirs.decode(ids), text


def test_the_tokenizers_differ_from_each_other() -> None:
    """Or else one that is right would hide another that is wrong."""
    text = "a <mask>  caf\u00e9 don't 12345\n\n  cafe\u0301 \u0663\u0664 DON'T   x  7 a   1  22"
    found = {name: pair(name)[2].encode(text, bos=False, eos=False) for name in FAMILIES}
    assert len({tuple(ids) for ids in found.values()}) == len(FAMILIES)
