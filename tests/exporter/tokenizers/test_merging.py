"""Which merges can happen: by the plain way, against the library on texts of few letters."""

from __future__ import annotations

import itertools
import random

import pytest
import tiktoken

from exporter.tokenizers.merging import Find, Pair, live_merges, merged, merges_of_ranks


def among(merges: dict[Pair, tuple[int, int]]) -> Find:
    return lambda left, right: merges.get((left, right))


def test_the_lowest_rank_merges_first_and_of_equal_ones_the_leftmost() -> None:
    find = among({(0, 0): (1, 5), (5, 0): (0, 6)})
    assert merged([0, 0, 0, 0, 0], find) == ([6, 5], (0, 0))
    assert merged([], find) == ([], None)
    assert merged([7], find) == ([7], None)


def ranked(draw: random.Random) -> list[bytes]:
    """Return all bytes, and pieces over three letters, in any order: some come before their own parts."""
    words = ["".join(word) for size in (2, 3, 4, 5) for word in itertools.product("abc", repeat=size)]
    return [bytes([byte]) for byte in range(256)] + [word.encode() for word in draw.sample(words, 60)]


def test_recovered_merges_give_tiktoken_s_ids_for_every_list_of_pieces() -> None:
    draw = random.Random(7)
    merges_in_all = 0
    for _ in range(60):
        pieces = ranked(draw)
        ids = {piece: token for token, piece in enumerate(pieces)}
        merges = merges_of_ranks(pieces)
        merges_in_all += len(merges)
        find = among({pair: (rank, ids[pieces[pair[0]] + pieces[pair[1]]]) for rank, pair in enumerate(merges)})
        judge = tiktoken.Encoding("a", pat_str="(?s).+", mergeable_ranks=ids, special_tokens={})
        for _ in range(40):
            text = "".join(draw.choice("abc") for _ in range(draw.randrange(1, 16))).encode()
            tokens = [ids[text]] if text in ids else merged((ids[bytes([byte])] for byte in text), find)[0]
            assert tokens == judge.encode_ordinary(text.decode())
    assert merges_in_all > 300


def test_live_merges_have_one_pair_for_each_piece_and_give_the_same_tokens() -> None:
    draw = random.Random(8)
    dropped = 0
    for _ in range(150):
        words = ["a", "b", *{"".join(draw.choice("ab") for _ in range(draw.randrange(2, 6))) for _ in range(20)}]
        splits = [
            (words.index(word[:at]), words.index(word[at:]), number)
            for number, word in enumerate(words)
            for at in range(1, len(word))
            if word[:at] in words and word[at:] in words
        ]
        draw.shuffle(splits)
        pairs, products = [split[:2] for split in splits], [split[2] for split in splits]
        symbols = {number: ["ab".index(letter) for letter in word] for number, word in enumerate(words)}
        live = live_merges(pairs, products, symbols)
        dropped += len(pairs) - len(live)
        every = among({pair: (rank, products[rank]) for rank, pair in enumerate(pairs)})
        few = among({pairs[rank]: (rank, product) for product, rank in live.items()})
        for _ in range(60):
            text = [draw.randrange(2) for _ in range(draw.randrange(1, 14))]
            assert merged(text, every)[0] == merged(text, few)[0]
    assert dropped > 500


def test_every_merge_has_a_product() -> None:
    with pytest.raises(ValueError, match="zip"):
        live_merges([(0, 1)], [], {})
