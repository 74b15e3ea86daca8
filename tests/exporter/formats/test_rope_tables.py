"""The RoPE tables of v0: the nearest float32 at every position."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from helpers.models import same_bits, toy_file

import reader_c
from exporter.formats.rope_tables import TABLES, rope_table


def test_rope_tables_of_v0_are_the_nearest_float32(tmp_path: Path) -> None:
    with reader_c.open(toy_file(tmp_path, "v0")) as model:
        cosine, sine = model.tensor("freqs_cos"), model.tensor("freqs_sin")
    for position in (0, 1, 32):
        for pair in range(4):
            angle = position * 10000.0 ** (-2 * pair / 8)
            assert cosine[position, pair] == np.float32(np.cos(angle))  # type: ignore[index]
            assert sine[position, pair] == np.float32(np.sin(angle))  # type: ignore[index]


@pytest.mark.parametrize("name", TABLES)
def test_a_table_does_not_depend_on_where_its_blocks_begin(name: str) -> None:
    whole = rope_table(name, range(40), 6, 500000.0)
    assert (whole.shape, whole.dtype) == ((40, 3), np.float32)
    parts = [rope_table(name, range(first, min(first + 7, 40)), 6, 500000.0) for first in range(0, 40, 7)]
    assert same_bits(np.concatenate(parts), whole)


def test_position_zero_and_the_first_pair_are_known() -> None:
    assert rope_table("freqs_cos", range(1), 8, 10000.0).tolist() == [[1.0] * 4]
    assert rope_table("freqs_sin", range(1), 8, 10000.0).tolist() == [[0.0] * 4]
    # the first pair turns by one radian a position, whatever theta
    far = rope_table("freqs_sin", range(10**6, 10**6 + 1), 8, 3.0)
    assert far[0, 0] == np.float32(np.sin(10**6))
