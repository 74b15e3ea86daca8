"""Random windows feed every token id once before one comes again; every id at full depth."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from verify.evidence import generated
from verify.evidence.generated import fixed_windows, random_lengths, random_windows

LENGTHS = st.lists(st.integers(2, 40), min_size=1, max_size=8)


@given(vocab_size=st.integers(1, 60), lengths=LENGTHS, seed=st.integers(0, 2**53))
def test_no_id_comes_again_before_all_others_had_their_turn(vocab_size: int, lengths: list[int], seed: int) -> None:
    windows = random_windows(vocab_size, lengths, seed)
    assert [len(window.tokens) for window in windows] == lengths
    assert {window.origin for window in windows} == {"random"}
    fed = np.concatenate([window.tokens for window in windows])
    counts = np.bincount(fed, minlength=vocab_size)
    assert len(counts) == vocab_size
    assert counts.max() - counts.min() <= 1
    assert fed.dtype == np.int64


@given(vocab_size=st.integers(20, 60), lengths=LENGTHS, seed=st.integers(0, 2**53))
def test_the_seed_decides_the_windows(vocab_size: int, lengths: list[int], seed: int) -> None:
    def tokens(number: int) -> list[list[int]]:
        return [window.tokens.tolist() for window in random_windows(vocab_size, lengths, number)]

    assert tokens(seed) == tokens(seed)
    if sum(lengths) > 20:  # in a few tokens two seeds may agree by chance
        assert tokens(seed) != tokens(seed + 1)


@given(
    count=st.integers(1, 20),
    length=st.integers(2, 50),
    more=st.none() | st.integers(1, 200),
    vocab_size=st.integers(1, 5000),
    every_id=st.booleans(),
)
def test_windows_are_added_until_every_id_has_a_place_and_no_more(
    count: int, length: int, more: int | None, vocab_size: int, every_id: bool
) -> None:
    long = None if more is None else length + more
    lengths = random_lengths(count, length, long, vocab_size, every_id=every_id)
    assert lengths.count(length) == len(lengths) - (long is not None)
    assert long is None or lengths[-1] == long
    if not every_id:
        assert len(lengths) == count
    else:
        assert sum(lengths) >= vocab_size or len(lengths) >= generated._MOST_WINDOWS
        assert len(lengths) == max(count, 1) or sum(lengths) - length < vocab_size


@pytest.mark.parametrize(
    ("vocab_size", "length", "windows", "tokens"),
    [
        (49_152, 2048, 32, 65_536),  # SmolLM2: the depth's own windows suffice
        (151_936, 2048, 75, 153_600),  # Qwen2
        (262_144, 2048, 128, 262_144),  # Gemma 3
        (1_000_000, 2048, 128, 262_144),  # the limit in tokens
        (32_000, 16, 1024, 16_384),  # the limit in windows
    ],
)
def test_full_depth_feeds_every_id_within_its_limits(vocab_size: int, length: int, windows: int, tokens: int) -> None:
    lengths = random_lengths(32, length, None, vocab_size, every_id=True)
    assert (len(lengths), sum(lengths)) == (windows, tokens)


@given(vocab_size=st.integers(1, 60), length=st.integers(2, 40))
def test_the_fixed_windows_are_one_token_repeated_and_ids_in_order(vocab_size: int, length: int) -> None:
    repeated, ordered = (window.tokens.tolist() for window in fixed_windows(vocab_size, length))
    assert repeated == [min(1, vocab_size - 1)] * length
    assert ordered == [place % vocab_size for place in range(length)]


@pytest.mark.parametrize(
    ("vocab_size", "lengths", "drawn"), [(10, [3, 3], 1), (10, [5, 5], 1), (10, [11], 2), (3, [7, 5], 4)]
)
def test_no_permutation_is_drawn_that_is_not_fed(vocab_size: int, lengths: list[int], drawn: int) -> None:
    class Counting:
        calls = 0

        def permutation(self, size: int) -> np.ndarray:
            self.calls += 1
            return np.arange(size)

    rng: Any = Counting()
    assert len(generated._permutations(vocab_size, sum(lengths), rng)) == sum(lengths)
    assert rng.calls == drawn
