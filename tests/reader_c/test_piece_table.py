"""The reader's tables of pieces and merges, where so many have one hash that the sorted list is searched; and long
runs, which a heap merges."""

from __future__ import annotations

import itertools
import random
from collections.abc import Iterable

import pytest
from helpers.tokenizer_blocks import WHOLE, Block

import reader_c

PLACES, PLACE, OF_ONE_PLACE = 64, 5, 40
LETTERS = b"abcdefghijklmnopqrstuvwxyz"
BYTES = [bytes([byte]) for byte in range(256)]


def mixed(number: int) -> int:
    number ^= number >> 32
    number = number * 0x9E3779B97F4A7C15 % 2**64
    return number ^ number >> 29


def hash_of(piece: bytes) -> int:
    """As rc_hash() of piece_table.c, for less than eight bytes."""
    return mixed(mixed(len(piece) * 0xFF51AFD7ED558CCD % 2**64 ^ int.from_bytes(piece, "little")))


def hash_of_pair(pair: tuple[int, int]) -> int:
    return mixed(pair[0] << 32 | pair[1])


def test_pieces_of_one_place_are_found_and_others_are_not() -> None:
    """A table of 64 places for 40 pieces, all of which begin their search at one place: 16 fit, 24 are searched."""
    words = (bytes(word) for size in (1, 2, 3) for word in itertools.product(LETTERS, repeat=size))
    same = [word for word in words if hash_of(word) % PLACES == PLACE]
    # the first and the last of all are absent; one that is there begins another one
    begun = next([word, longer] for word in same for longer in same if longer[:-1] == word)
    others = [word for word in sorted(same)[1:-1] if word not in begun]
    drawn = begun + random.Random(1).sample(others, OF_ONE_PLACE - 2)
    random.Random(2).shuffle(drawn)
    tokenizer = reader_c.Tokenizer.from_block(Block(flags=WHOLE, pieces=drawn).content(), OF_ONE_PLACE)
    for word in same:
        assert tokenizer.encode(word) == ([drawn.index(word)] if word in drawn else []), word


def test_merges_of_one_place_are_found_and_others_are_not() -> None:
    same = [pair for pair in itertools.product(range(256), repeat=2) if hash_of_pair(pair) % PLACES == PLACE]
    drawn = random.Random(3).sample(same[1:-1], OF_ONE_PLACE)
    pieces = [*BYTES, *(bytes(pair) for pair in drawn)]
    tokenizer = reader_c.Tokenizer.from_block(Block(pieces=pieces, merges=drawn).content(), len(pieces))
    for pair in same:
        # three bytes, which are no piece
        first = next(byte for byte in range(256) if (byte, pair[0]) not in drawn)
        expected = [256 + drawn.index(pair)] if pair in drawn else list(pair)
        assert tokenizer.encode(bytes([first, *pair])) == [first, *expected], pair


def grown(rng: random.Random) -> tuple[list[bytes], list[tuple[int, int]]]:
    """Pieces over three letters, and merges that make each of them, some in two ways."""
    pieces, merges = [b"a", b"b", b"c"], []
    while len(merges) < 60:
        pair = rng.randrange(len(pieces)), rng.randrange(len(pieces))
        both = pieces[pair[0]] + pieces[pair[1]]
        if len(both) <= 9 and pair not in merges:
            merges.append(pair)
            pieces += [both] if both not in pieces else []
    rng.shuffle(merges)
    return pieces, merges


def plain_merge(pieces: list[bytes], merges: list[tuple[int, int]], text: Iterable[bytes]) -> list[int]:
    """Merge the pair of the smallest rank, of equal ones the leftmost, again and again."""
    rank = {pair: number for number, pair in enumerate(merges)}
    tokens = [pieces.index(letter) for letter in text]
    while True:
        known = [(rank[pair], at) for at, pair in enumerate(itertools.pairwise(tokens)) if pair in rank]
        if not known:
            return tokens
        _, at = min(known)
        tokens[at : at + 2] = [pieces.index(pieces[tokens[at]] + pieces[tokens[at + 1]])]


@pytest.mark.parametrize("seed", range(8))
def test_runs_of_any_length_are_merged_as_a_plain_loop_merges_them(seed: int) -> None:
    """Up to 32 tokens by search, more by a heap."""
    rng = random.Random(seed)
    pieces, merges = grown(rng)
    tokenizer = reader_c.Tokenizer.from_block(Block(pieces=pieces, merges=merges).content(), len(pieces))
    for size in (3, 10, 31, 32, 33, 34, 50, 90):
        text = [bytes([letter]) for letter in rng.choices(b"abc", k=size)]
        assert tokenizer.encode(b"".join(text)) == plain_merge(pieces, merges, text)
