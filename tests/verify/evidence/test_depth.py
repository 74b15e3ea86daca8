"""Each depth asks for the evidence of its row, and traced windows come from every origin."""

from __future__ import annotations

import itertools
import re
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from verify.errors import CannotJudgeError
from verify.evidence import Window
from verify.evidence.depth import DEPTHS, depth_of, longest_window, traced_positions, traced_windows


def windows(*origins: str) -> list[Window]:
    return [Window(np.arange(4), origin) for origin in origins]


def test_a_deeper_depth_asks_for_no_less_of_anything() -> None:
    depths = [DEPTHS[name] for name in ("quick", "standard", "full")]
    assert list(DEPTHS) == ["quick", "standard", "full"]
    for lower, higher in itertools.pairwise(depths):
        assert lower.scores < higher.scores
        assert lower.every_id <= higher.every_id
        assert lower.windows < higher.windows
        assert lower.length < higher.length
        for one, other in (
            (lower.traced, higher.traced),
            (lower.positions, higher.positions),
            (lower.longest, higher.longest),
        ):
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
    ("depth", "length", "positions"),
    [("standard", 512, 128), ("standard", 128, 128), ("standard", 9, 9), ("full", 2048, 2048)],
)
def test_positions_that_fast_records_are_the_first_ones(depth: str, length: int, positions: int) -> None:
    assert traced_positions(depth, length) == positions


@pytest.mark.parametrize(
    ("depth", "n_heads", "max_seq_len", "longest"),
    [
        ("quick", 1, 8192, None),
        ("standard", 9, 8192, 1024),  # SmolLM2: the cap in tokens
        ("standard", 128, 4096, 724),  # the cap in scores: 128 * 724^2 <= 2^26 < 128 * 725^2
        ("standard", 9, 600, 600),  # the model's own end
        ("standard", 9, 512, None),  # every window reaches it
        ("standard", 512, 4096, None),  # no longer than the others
        ("full", 9, 8192, 5461),
        ("full", 9, 4096, 4096),
        ("full", 32, 4096, 2896),
        ("full", 9, 2048, None),
    ],
)
def test_one_window_goes_on_to_the_end_or_as_far_as_is_affordable(
    depth: str, n_heads: int, max_seq_len: int, longest: int | None
) -> None:
    assert longest_window(depth, n_heads, max_seq_len) == longest


@given(
    depth=st.sampled_from(sorted(DEPTHS)),
    n_heads=st.integers(1, 128),
    max_seq_len=st.integers(2, 1 << 17),
    room=st.integers(0, 1 << 17),
)
def test_a_long_window_keeps_to_every_limit_and_is_the_longest_that_does(
    depth: str, n_heads: int, max_seq_len: int, room: int
) -> None:
    asked = DEPTHS[depth]

    def fits(length: int) -> bool:
        capped = asked.longest is None or length <= asked.longest
        return length <= min(max_seq_len, room) and capped and n_heads * length * length <= asked.scores

    found = longest_window(depth, n_heads, max_seq_len, lambda length: length <= room)
    if found is None:
        assert not fits(min(asked.length, max_seq_len) + 1)
    else:
        assert found > asked.length
        assert fits(found)
        assert not fits(found + 1)


def test_the_long_window_adds_at_most_a_tenth_to_standard_depth() -> None:
    asked = DEPTHS["standard"]
    assert asked.longest is not None
    # beside two fixed ones
    before = asked.length * (asked.windows + 2)
    assert before - asked.length + asked.longest <= 1.1 * before


@pytest.mark.parametrize("name", list(DEPTHS))
def test_each_depth_is_the_row_of_the_docs(name: str) -> None:
    asked = DEPTHS[name]
    traced, positions = (
        "all" if number is None else f"{words}{number}"
        for number, words in ((asked.traced, ""), (asked.positions, "the first "))
    )
    row = (
        f"| `{name}` | {asked.windows} | {asked.length} | {asked.longest or 'no limit'} "
        f"| {'all' if asked.every_id else 'a sample'} | {traced} | {positions} |"
    )
    assert row in (Path(__file__).parents[3] / "docs/concepts.md").read_text(encoding="utf-8").splitlines()


def test_only_full_depth_tries_every_instruction_set() -> None:
    assert [name for name, depth in DEPTHS.items() if depth.every_path] == ["full"]


def test_fixed_windows_are_traced_from_the_last_which_has_different_tokens() -> None:
    assert traced_windows(windows("fixed", "fixed"), "standard") == [0, 1]
    assert traced_windows(windows("fixed", "fixed", "random"), "standard") == [1, 2]
    assert traced_windows(windows("random", "fixed", "fixed", "random"), "standard") == [0, 2]
