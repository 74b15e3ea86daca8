"""Generate windows without a text: random ones, in which ids repeat only after all had their turn, and fixed ones."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from verify.evidence.window import Window

# The most tokens and windows that random windows grow to, so that every token id is fed: enough for every vocabulary
# that we know (Gemma's 262,144), and a limit for a large vocabulary in very short windows.
_MOST_TOKENS = 1 << 18
_MOST_WINDOWS = 1024


def random_lengths(count: int, length: int, long: int | None, vocab_size: int, *, every_id: bool) -> list[int]:
    """Return the length of each random window.

    long: of the last window; None for as long as the others. every_id: add windows until they have a place for each
    token id, within the limits above.
    """
    lengths = [length] * (count - (long is not None))
    tokens = length * len(lengths) + (long or 0)
    if every_id:
        # no limit takes away a window that the depth asks for
        missing = -(-(min(vocab_size, _MOST_TOKENS) - tokens) // length)
        lengths += [length] * max(0, min(missing, _MOST_WINDOWS - len(lengths)))
    return lengths if long is None else [*lengths, long]


def random_windows(vocab_size: int, lengths: Sequence[int], seed: int) -> list[Window]:
    """Return consecutive slices of seeded permutations of the vocabulary, one permutation after another."""
    ids = _permutations(vocab_size, sum(lengths), np.random.default_rng(seed))
    ends = np.cumsum(lengths)
    return [Window(part, "random") for part in np.split(ids, ends)[:-1]]


def _permutations(vocab_size: int, count: int, rng: np.random.Generator) -> NDArray[np.int64]:
    """Return the first `count` ids of permutation after permutation."""
    rounds = -(-count // vocab_size)
    return np.concatenate([rng.permutation(vocab_size) for _ in range(rounds)])[:count].astype(np.int64)


def fixed_windows(vocab_size: int, length: int) -> list[Window]:
    """Return one token repeated, and ids in order."""
    return [
        Window(np.full(length, min(1, vocab_size - 1), np.int64), "fixed"),
        Window(np.arange(length, dtype=np.int64) % vocab_size, "fixed"),
    ]
