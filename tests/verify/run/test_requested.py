"""The group size that a request allows: the largest that divides every row, at most what an int32 sum takes."""

from __future__ import annotations

import pytest

from verify.run.requested import _LARGEST_GROUP, Requested


def test_a_group_s_sum_of_products_stays_within_int32() -> None:
    assert _LARGEST_GROUP * 127 * 128 < 2**31 <= (_LARGEST_GROUP + 1) * 127 * 128
    width = 6 * _LARGEST_GROUP
    for asked in (_LARGEST_GROUP, _LARGEST_GROUP + 1, 2 * _LARGEST_GROUP, width):
        assert Requested("v3", asked)._group(width) == _LARGEST_GROUP
    assert Requested("v3", _LARGEST_GROUP - 1)._group(width) < _LARGEST_GROUP


@pytest.mark.parametrize(
    ("asked", "widths", "expected"),
    [(64, (64,), 64), (64, (48,), 48), (64, (128, 48), 16), (8, (48, 40), 8), (7, (48, 40), 4), (64, (7, 5), 1)],
)
def test_a_group_divides_every_row(asked: int, widths: tuple[int, ...], expected: int) -> None:
    assert Requested("v2", asked)._group(*widths) == expected
