"""Encode as qwen3.c encodes by its .tokenizer, to count the texts that it encodes otherwise than the source.

It takes <...> of up to 64 bytes for one token where the vocabulary has it, and every other byte for a token; then it
merges the two neighbours whose joined piece has the largest score, of equal ones the leftmost. It cuts no text into
words and normalizes none.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import islice, pairwise

from verify.system.pulse import pulse
from verify.tokenizers.libraries import Library
from verify.tokenizers.plain_files import PlainTokens
from verify.tokenizers.trial import ENCODED

_LONGEST_SPECIAL = 64
_SCORE_FLOOR = -1e10
# Texts that the library encodes together.
_AT_ONCE = 1000


class Qwen3cEncoder:
    """The encoder of qwen3.c. Texts have no zero byte, which ends a text in C."""

    def __init__(self, tokens: PlainTokens) -> None:
        self._scores = tokens.scores
        # a piece ends at a zero byte, and of equal pieces the search finds the first
        self._pieces = [piece.partition(b"\0")[0] for piece in tokens.pieces]
        self._token_of: dict[bytes, int] = {}
        for token, piece in enumerate(self._pieces):
            self._token_of.setdefault(piece, token)

    def encode(self, text: str) -> list[int] | None:
        """Return the ids, or None where a byte has no piece: qwen3.c then reads memory that it never wrote."""
        content, at, ids = text.encode(), 0, []
        while at < len(content):
            size = self._special_size(content, at)
            token = self._token_of.get(content[at : at + size])
            if token is None:
                return None
            ids.append(token)
            at += size
        return self._merged(ids)

    def _special_size(self, content: bytes, at: int) -> int:
        """Return the bytes of the special token that begins here, or 1 for any other byte."""
        if content[at] != ord("<"):
            return 1
        size = content[at : at + _LONGEST_SPECIAL].find(b">") + 1
        return size if size and content[at : at + size] in self._token_of else 1

    def _merged(self, ids: list[int]) -> list[int]:
        while True:
            best, found = _SCORE_FLOOR, None
            for number, (left, right) in enumerate(pairwise(ids)):
                token = self._token_of.get(self._pieces[left] + self._pieces[right])
                if token is not None and self._scores[token] > best:
                    best, found = self._scores[token], (number, token)
            if found is None:
                return ids
            place, merged = found
            ids[place : place + 2] = [merged]


def encoded_otherwise(texts: Iterable[str], tokens: PlainTokens, library: Library) -> tuple[int, int]:
    """Return how many texts qwen3.c encodes otherwise than the source's library, and of how many."""
    encoder, count, otherwise = Qwen3cEncoder(tokens), 0, 0
    left = iter(texts)
    while batch := list(islice(left, _AT_ONCE)):
        expected: Sequence[list[int]] = library.encode(batch, special=False)
        otherwise += sum(encoder.encode(text) != ids for text, ids in zip(batch, expected, strict=True))
        count += len(batch)
        pulse(ENCODED * len(batch))
    return otherwise, count
