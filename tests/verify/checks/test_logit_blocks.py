"""Positions in blocks: each once, in their order, none larger than the block and none empty."""

from __future__ import annotations

import pytest

from verify.checks import logit_blocks
from verify.checks.logit_blocks import blocks


@pytest.mark.parametrize(
    ("positions", "vocab_size", "expected"),
    [
        (0, 5, []),
        (1, 5, [(0, 1)]),
        (4, 5, [(0, 4)]),
        (5, 5, [(0, 4), (4, 5)]),
        (8, 5, [(0, 4), (4, 8)]),
        (4, 6, [(0, 3), (3, 4)]),
        (3, 20, [(0, 1), (1, 2), (2, 3)]),
        (2, 21, [(0, 1), (1, 2)]),
        (2, 1000, [(0, 1), (1, 2)]),
    ],
)
def test_blocks_cover_all_positions_once(
    monkeypatch: pytest.MonkeyPatch, positions: int, vocab_size: int, expected: list[tuple[int, int]]
) -> None:
    monkeypatch.setattr(logit_blocks, "_BLOCK", 20)
    assert list(blocks(positions, vocab_size)) == [slice(first, end) for first, end in expected]


def test_a_block_fits_into_a_core_s_cache() -> None:
    """1 MiB in float64."""
    assert logit_blocks._BLOCK == 131_072
