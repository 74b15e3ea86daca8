"""Each depth asks for the evidence of its row, and traced windows come from every origin."""

from __future__ import annotations

import itertools
import re

import numpy as np
import pytest

from verify.errors import CannotJudgeError
from verify.evidence import Window
from verify.evidence.depth import DEPTHS, depth_of, traced_positions, traced_windows


def windows(*origins: str) -> list[Window]:
    return [Window(np.arange(4), origin) for origin in origins]


def test_a_deeper_depth_asks_for_no_less_of_anything() -> None:
    depths = [DEPTHS[name] for name in ("quick", "standard", "full")]
    assert list(DEPTHS) == ["quick", "standard", "full"]
    for lower, higher in itertools.pairwise(depths):
        assert lower.windows < higher.windows
        assert lower.length < higher.length
        for one, other in ((lower.traced, higher.traced), (lower.positions, higher.positions)):
            assert other is None or (one is not None and one <= other)
    assert (DEPTHS["full"].traced, DEPTHS["full"].positions) == (None, None)


def test_an_unknown_depth_is_refused_with_the_names_that_exist() -> None:
    assert depth_of("quick") is DEPTHS["quick"]
    with pytest.raises(
        CannotJudgeError, match=re.escape("depth: expected one of quick, standard, full, found 'deep'")
    ):
        depth_of("deep")


@pytest.mark.parametrize(
    ("origins", "traced"),
    [
        (("random", "random", "fixed", "fixed"), [0, 3]),
        (("text", "text", "random", "random", "fixed", "fixed"), [0, 2]),
        (("text", "tokens", "random", "fixed", "fixed"), [0, 1]),
        (("random", "random", "random"), [0, 1]),
        (("random",), [0]),
    ],
)
def test_windows_are_traced_in_turn_from_each_origin(origins: tuple[str, ...], traced: list[int]) -> None:
    assert traced_windows(windows(*origins), "standard") == traced


def test_full_depth_traces_every_window() -> None:
    every = windows("text", "random", "random", "fixed", "fixed")
    assert traced_windows(every, "full") == list(range(len(every)))


@pytest.mark.parametrize(
    ("depth", "length", "whole", "positions"),
    [
        ("standard", 512, False, 128),
        ("standard", 128, False, 128),
        ("standard", 9, False, 9),
        ("standard", 512, True, 512),
        ("full", 2048, False, 2048),
    ],
)
def test_positions_that_are_compared_are_the_first_ones(depth: str, length: int, whole: bool, positions: int) -> None:
    assert traced_positions(depth, length, whole=whole) == positions
