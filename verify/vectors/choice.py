"""Choose what is kept: windows that are awkward on purpose, positions of each window, tokens of each position."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from verify.evidence.window import Window

# Ids at both ends of a vocabulary: that is where special tokens stand.
_ENDS = 16
_MOST_POSITIONS = 96
_LIKELIEST = 12
KEPT = 32


def edge_window(vocab_size: int, max_seq_len: int) -> Window:
    """Return a window of the first and the last ids, each followed by an id from the middle."""
    ends = [*range(min(_ENDS, vocab_size)), *range(max(0, vocab_size - _ENDS), vocab_size)]
    ids = [token for end in ends for token in (end, vocab_size // 2)]
    return Window(np.array((ids if len(ids) > 1 else ids * 2)[:max_seq_len], np.int64), "fixed")


def positions(length: int, worst: Sequence[int], rng: np.random.Generator) -> NDArray[np.int64]:
    """Return the positions that are kept: all of a short window; of a long one its ends, a random sample, and the
    positions that were worst."""
    if length <= _MOST_POSITIONS:
        return np.arange(length)
    third = _MOST_POSITIONS // 3
    ends = [*range(third), *range(length - third, length), *worst]
    middle = rng.choice(
        np.setdiff1d(np.arange(length), ends), _MOST_POSITIONS - len(worst) - 2 * third, replace=False
    )
    return np.unique([*ends, *middle])


def kept_ids(
    logits: NDArray[np.floating[Any]], following: int | None, kept: int, rng: np.random.Generator
) -> NDArray[np.int64]:
    """Return the tokens that are kept of one position: the likeliest, the one that follows in the window, and random
    ones. logits: (vocab_size,). Ascending, `kept` of them or the whole vocabulary."""
    vocab_size = len(logits)
    if vocab_size <= kept:
        return np.arange(vocab_size)
    likeliest = min(_LIKELIEST, kept - 1)
    chosen = set(np.argpartition(logits, -likeliest)[-likeliest:].tolist())
    if following is not None:
        chosen.add(following)
    while len(chosen) < kept:
        chosen.update(rng.integers(vocab_size, size=kept - len(chosen)).tolist())
    return np.array(sorted(chosen), np.int64)
