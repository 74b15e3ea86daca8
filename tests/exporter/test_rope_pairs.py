"""Rows in RoPE's order: halves of what is rotated become neighbours, and back, wherever an element stands."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from helpers.models import config

from exporter.config import tensor_shapes
from exporter.rope_pairs import in_halves, in_pairs, index_in_halves

ROTATED = ("wq", "wk", "q_norm", "k_norm")


@pytest.mark.parametrize("rotary_dim", [2, 4, 6, 8])
@pytest.mark.parametrize("qk_norm", ["head", "whole"])
def test_every_element_goes_where_its_pair_is_and_comes_back(rotary_dim: int, qk_norm: str) -> None:
    changes: dict[str, Any] = {"rotary_dim": rotary_dim, "qk_norm": qk_norm, "qkv_bias": True}
    model = config(**changes)
    half = rotary_dim // 2
    head = [row for pair in range(half) for row in (pair, pair + half)] + list(range(rotary_dim, 8))
    for name, shape in tensor_shapes(model).items():
        theirs = np.arange(np.prod(shape), dtype=np.float32).reshape(shape)
        ours = in_pairs(name, theirs, model)
        rows = range(shape[0])
        if name.split(".")[-2] in ROTATED:
            rows = [first + row for first in range(0, shape[0], 8) for row in head]
        assert np.array_equal(ours, theirs[list(rows)]), name
        assert np.array_equal(in_halves(name, ours, model).reshape(shape), theirs), name
        for row in range(shape[0]):
            index = (row, *[0] * (len(shape) - 1))
            assert theirs[index_in_halves(name, index, model)] == ours[index], name


def test_whole_heads_are_turned_without_a_copy() -> None:
    name = "layers.0.attention.wq.weight"
    array = np.zeros((48, 48), np.float32)
    assert np.shares_memory(in_halves(name, array, config()), array)
