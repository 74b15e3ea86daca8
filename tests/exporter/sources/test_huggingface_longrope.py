"""Phi 3's longrope by itself: its factors, one for each pair, and the factor of attention by hand."""

from __future__ import annotations

import math
from typing import Any

import pytest

import exporter
from exporter.rope_scaling import RopeScaling
from exporter.sources.huggingface_longrope import read_longrope

ROPE: dict[str, Any] = {"short_factor": [1, 0.1], "long_factor": [2.0, 0.1]}
SINGLE = 0.100000001490116119384765625  # 0.1 as float32 has it


def attention(original: int, positions: int, **said: Any) -> float:
    return read_longrope({**ROPE, **said}, original, positions, 2).attention_factor


def refused(original: int = 4, positions: int = 16, **said: Any) -> str:
    with pytest.raises(exporter.CheckpointError) as caught:
        attention(original, positions, **said)
    return str(caught.value)


def test_short_factors_are_rounded_to_float32_and_long_ones_are_kept() -> None:
    found = read_longrope({**ROPE, "attention_factor": 1.5}, 4, 16, 2)
    assert found == RopeScaling(
        "longrope", original_max_positions=4, attention_factor=1.5, short_factors=(1.0, SINGLE)
    )
    assert found.long_factors == (2.0, 0.1)


@pytest.mark.parametrize(
    ("original", "positions", "said", "squared"),
    [
        (4, 16, {}, 2),  # 1 + log 4 / log 4
        (4, 16, {"attention_factor": None, "factor": None}, 2),
        (4, 16, {"factor": 16}, 3),
        (2, 4, {}, 2),
        (16, 32, {}, 1.25),
        (4, 4, {}, 1),
        (4, 2, {}, 1),
        (4, 16, {"factor": 1}, 1),
        (4, 16, {"factor": 0.5}, 1),
        (1, 1, {}, 1),
        (1, 16, {"factor": 1}, 1),
    ],
)
def test_a_silent_factor_of_attention_follows_from_the_positions(
    original: int, positions: int, said: dict[str, Any], squared: float
) -> None:
    assert attention(original, positions, **said) == math.sqrt(squared)


def test_a_logarithm_of_1_divides_nothing() -> None:
    assert refused(1, 2) == (
        "original_max_position_embeddings: expected more than 1, whose logarithm transformers divides by, found 1"
    )


@pytest.mark.parametrize("key", ["short_factor", "long_factor"])
@pytest.mark.parametrize(("value", "found"), [([1.0], "1"), ([1.0] * 3, "3"), (2, "2"), ("ab", "'ab'")])
def test_there_is_a_factor_for_each_pair(key: str, value: object, found: str) -> None:
    assert refused(**{key: value}) == f"{key}: expected a list of 2 numbers, one for each rotated pair, found {found}"


def test_factors_are_numbers_that_float32_holds() -> None:
    assert refused(short_factor=[1, "2"]) == "short_factor: 1: expected a number, found '2'"
    assert refused(long_factor=[None, 1]) == "long_factor: 0: expected a number, found None"
    assert refused(short_factor=[1, 1e39]) == "short_factor: 1: expected a number that float32 holds, found 1e+39"
    assert refused(factor="2") == "factor: expected a number, found '2'"
    assert refused(attention_factor=True) == "attention_factor: expected a number, found True"
    assert read_longrope({**ROPE, "long_factor": [1, 1e39]}, 4, 16, 2).long_factors == (1.0, 1e39)
