"""Encode texts by the written tokenizer and by the source's library: the first that differs, of each kind."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any, Protocol

from verify.system.pulse import pulse
from verify.tokenizers.libraries import Library
from verify.tokenizers.rules import SPACE, Rules

# Texts that the library encodes together.
_AT_ONCE = 1000
# Work for each text that is encoded by both.
ENCODED = 3e6

# Characters of a text that a message shows.
_SHOWN = 80


class Encoder(Protocol):
    """The written tokenizer, as an engine runs it."""

    def encode(self, text: str, *, special: bool) -> list[int]:
        """Return the ids. special: with those that the tokenizer itself puts before and after a text.

        Raises ValueError for a text that it refuses.
        """
        ...

    def decode(self, ids: Sequence[int]) -> bytes:
        """Return the text of ids that begin a text, without special ones."""
        ...


@dataclass(frozen=True)
class Mismatch:
    """A text that the two encode, or decode, in different ways. what: "merge", "text" or "decoding"."""

    what: str
    text: str
    place: int
    expected: Any
    found: Any
    count: int = 1

    def sentence(self) -> str:
        """Say where they differ first."""
        shown = f"{self.text[:_SHOWN]!r}{'...' if len(self.text) > _SHOWN else ''}"
        where = f"{self.what} {shown}"
        if self.what != "decoding":
            where += f": id {self.place} of its ids"
        more = f"; {self.count - 1} more differ" if self.count > 1 else ""
        return f"{where}: expected {self.expected}, found {self.found}{more}"


@dataclass(frozen=True)
class Tried:
    """How many texts were compared, how many of them were decoded again, and the first mismatch of all."""

    count: int = 0
    decoded: int = 0
    mismatch: Mismatch | None = None


def merge_texts(rules: Rules) -> Iterator[str]:
    """Yield the text of both parts of every merge that is text: parts of characters are not."""
    for left, right in rules.merges:
        whole = rules.pieces[left] + rules.pieces[right]
        try:
            text = whole.decode()
        except UnicodeDecodeError:
            continue
        yield text.replace(SPACE, " ") if rules.kind == "characters" else text


def scored_texts(rules: Rules) -> Iterator[str]:
    """Yield the text of every piece that is merged by its score."""
    for token, piece in enumerate(rules.pieces):
        text = piece.decode(errors="replace").replace(SPACE, " ")
        if token not in rules.added and len(text) > 1 and "\ufffd" not in text:
            yield text


def try_texts(
    texts: Iterable[str], encoder: Encoder, library: Library, *, what: str, special: bool, decoding: bool = False
) -> Tried:
    """Compare the ids of every text; with decoding, also the text of the ids, where the library gives it back."""
    count = decoded = wrong = 0
    first: Mismatch | None = None
    left = iter(texts)
    while batch := list(islice(left, _AT_ONCE)):
        expected = library.encode(batch, special=special)
        returned = _returned(batch, library) if decoding else {}
        for number, (text, right) in enumerate(zip(batch, expected, strict=True)):
            found = _compare(what, text, right, encoder, special=special)
            if found is None and number in returned:
                decoded += 1
                found = _decode(text, encoder)
            wrong += found is not None
            first = first or found
        count += len(batch)
        pulse(ENCODED * len(batch))
    if first is not None and wrong > 1:
        first = Mismatch(first.what, first.text, first.place, first.expected, first.found, wrong)
    return Tried(count, decoded, first)


def _returned(batch: Sequence[str], library: Library) -> set[int]:
    """Return the numbers of the texts that the library gives back from their ids."""
    again = library.decode(library.encode(batch, special=False))
    return {number for number, (text, back) in enumerate(zip(batch, again, strict=True)) if text == back}


def _compare(what: str, text: str, right: list[int], encoder: Encoder, *, special: bool) -> Mismatch | None:
    try:
        ids = encoder.encode(text, special=special)
    except ValueError as error:
        return Mismatch(what, text, 0, right[:1], f"a refusal: {error}")
    if ids == right:
        return None
    at = next((n for n, (a, b) in enumerate(zip(right, ids, strict=False)) if a != b), min(len(right), len(ids)))
    return Mismatch(what, text, at, _at(right, at), _at(ids, at))


def _decode(text: str, encoder: Encoder) -> Mismatch | None:
    again = encoder.decode(encoder.encode(text, special=False))
    return (
        None if again == text.encode() else Mismatch("decoding", text, 0, repr(text[:_SHOWN]), repr(again[:_SHOWN]))
    )


def _at(ids: Sequence[int], place: int) -> int | str:
    return ids[place] if place < len(ids) else "none"
