"""How much evidence each depth asks for: one table, which docs/concepts.md repeats."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from verify.errors import CannotJudgeError
from verify.evidence.window import Window


@dataclass(frozen=True)
class Depth:
    """How many windows, how long, and how many of them are traced. None: all.

    windows: random windows, and the most windows of a text. length: tokens in a window, cut to the model's own.
    traced: windows whose operations are recorded, at every position by "mirror". positions: how many of a traced
    window's first positions are recorded by "fast" too, and have their storage's cost attributed to tensors.
    every_path: repeat "fast" on every instruction set of the processor.
    """

    windows: int
    length: int
    traced: int | None
    positions: int | None
    every_path: bool = False


DEPTHS = {
    "quick": Depth(windows=4, length=64, traced=2, positions=128),
    "standard": Depth(windows=8, length=512, traced=2, positions=128),
    "full": Depth(windows=32, length=2048, traced=None, positions=None, every_path=True),
}


def depth_of(name: str) -> Depth:
    """Raises CannotJudgeError for a name that DEPTHS does not have."""
    if name not in DEPTHS:
        raise CannotJudgeError(f"depth: expected one of {', '.join(DEPTHS)}, found {name!r}")
    return DEPTHS[name]


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
