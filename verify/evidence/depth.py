"""How much evidence each depth asks for: one table, which docs/concepts.md repeats."""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from verify.errors import CannotJudgeError
from verify.evidence.window import Window


@dataclass(frozen=True)
class Depth:
    """How many windows, how long, and how many of them are traced. None: all.

    windows: random windows, and the most windows of a text. length: tokens in a window, cut to the model's own.
    longest: tokens of the one window that goes on to the model's max_seq_len; None for as many as are affordable; it
    is no longer than the others if `longest` equals `length`. scores: elements that one layer's attention scores may
    have in that window, n_heads * length^2. every_id: random windows are added until every token id is fed.
    traced: windows whose operations are recorded, at every position by "mirror". positions: how many of a traced
    window's first positions are recorded by "fast" too, and have their storage's cost attributed to tensors.
    every_path: repeat "fast" on every instruction set of the processor.
    """

    windows: int
    length: int
    longest: int | None
    scores: int
    every_id: bool
    traced: int | None
    positions: int | None
    every_path: bool


DEPTHS = {
    "quick": Depth(4, 64, 64, scores=0, every_id=False, traced=2, positions=128, every_path=False),
    "standard": Depth(8, 512, 1024, scores=1 << 26, every_id=False, traced=2, positions=128, every_path=False),
    "full": Depth(32, 2048, None, scores=1 << 28, every_id=True, traced=None, positions=None, every_path=True),
}


def depth_of(name: str) -> Depth:
    """Raises CannotJudgeError for a name that DEPTHS does not have."""
    if name not in DEPTHS:
        raise CannotJudgeError(f"depth: expected one of {', '.join(DEPTHS)}, found {name!r}")
    return DEPTHS[name]


def longest_window(
    depth: str, n_heads: int, max_seq_len: int, affordable: Callable[[int], bool] = lambda _length: True
) -> int | None:
    """Return the tokens of the one long window: up to max_seq_len, or as many as are affordable.

    affordable: whether a verdict on a window of that length has the memory; what a length needs, shorter ones need
    too. None: no window is longer than the others.
    """
    asked = DEPTHS[depth]
    most = min(max_seq_len, asked.longest or max_seq_len, math.isqrt(asked.scores // n_heads))
    shortest = min(asked.length, max_seq_len)
    if most <= shortest:
        return None
    # the number of lengths above the shortest that are affordable
    lengths = range(shortest + 1, most + 1)
    found = bisect_left(lengths, True, key=lambda length: not affordable(length))
    return shortest + found if found else None


def traced_windows(windows: Sequence[Window], depth: str) -> list[int]:
    """Numbers of the windows to trace, in their order: the first of each origin, then the second, ..."""
    by_origin: dict[str, list[int]] = {}
    for number, window in enumerate(windows):
        by_origin.setdefault(window.origin, []).append(number)
    # of the fixed ones, the one whose tokens differ
    by_origin.get("fixed", []).reverse()
    rounds = max(map(len, by_origin.values()))
    order = [numbers[turn] for turn in range(rounds) for numbers in by_origin.values() if turn < len(numbers)]
    return sorted(order[: DEPTHS[depth].traced])


def traced_positions(depth: str, length: int) -> int:
    """How many of a traced window's first positions Depth.positions covers."""
    most = DEPTHS[depth].positions
    return length if most is None else min(length, most)
