"""Two passes are alike if every logit has the same bits; the first other one is named."""

from __future__ import annotations

import numpy as np
import pytest

from verify.checks.same_bits import NOTHING_COMPARED, compare_bits

WHOLE = np.array([[0.0, 1.0], [2.0, np.nan]], np.float32)


def test_equal_bits_are_alike_and_a_nan_may_be_any_nan() -> None:
    other = WHOLE.copy()
    other.view("u4")[1, 1] ^= 1
    found = compare_bits("3 threads", "mirror, float activations", 0, WHOLE, other)
    assert (found.ways, found.difference, found.where) == (("3 threads",), "", None)


def test_the_first_other_bit_is_named_even_the_sign_of_a_zero() -> None:
    other = WHOLE.copy()
    other[0, 0] = -0.0
    other[1, 0] = 3.0
    found = compare_bits("3 threads", "fast, int8 activations", 7, WHOLE, other)
    assert found.difference == (
        "fast, int8 activations, 3 threads: expected the bits of the whole window, found others from window 7, "
        "position 0, index 0 on: -0 instead of 0"
    )
    assert found.where == {"window": 7, "position": 0, "index": 0, "expected": 0.0, "found": -0.0}


def test_merging_keeps_every_way_once_and_the_first_difference() -> None:
    alike = compare_bits("a", "p", 0, WHOLE, WHOLE)
    first, second = (compare_bits("b", "p", number, WHOLE, WHOLE + 1) for number in (1, 2))
    merged = NOTHING_COMPARED.merged(alike).merged(first).merged(second).merged(alike)
    assert merged.ways == ("a", "b")
    assert merged.where is not None
    assert merged.where["window"] == 1


@pytest.mark.parametrize(("whole", "found"), [(np.nan, 1.0), (1.0, np.nan), (np.inf, np.nan)])
def test_a_nan_on_one_side_is_another_logit(whole: float, found: float) -> None:
    sides = (np.array([[0.0, one]], np.float32) for one in (whole, found))
    got = compare_bits("3 threads", "mirror, float activations", 2, *sides)
    assert got.where is not None
    assert (got.where["window"], got.where["position"], got.where["index"]) == (2, 0, 1)
    assert got.difference.endswith(f"on: {found:.9g} instead of {whole:.9g}")
