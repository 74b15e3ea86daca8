"""The RoPE tables of v0: the nearest float32 at every position. Scaled frequencies, by each rule written out."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers.models import config, same_bits, toy_file

import exporter
import reader_c
from exporter.formats.rope_tables import TABLES, angles, frequencies_of, plain_frequencies, rope_table


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


def test_frequencies_are_powers_of_theta() -> None:
    assert plain_frequencies(8, 256.0).tolist() == [1, 0.25, 0.0625, 0.015625]
    found = angles(range(3, 5), np.array([1.0, 0.5]))
    assert found.tolist() == [[3, 1.5], [4, 2]]


def scaled(model: exporter.ModelConfig) -> list[float]:
    """Each pair's frequency, in the words of the papers: by wavelengths, and by the pairs that turn so many times."""
    s, theta, size = model.rope_scaling, model.rope_theta, model.rotated
    found = []
    for pair in range(size // 2):
        plain = theta ** (-2 * pair / size)
        wavelength = 2 * math.pi / plain
        if s.type == "linear":
            share = 1.0
        elif s.type == "llama3":
            longest, shortest = (s.original_max_positions / f for f in (s.low_freq_factor, s.high_freq_factor))
            smooth = (s.original_max_positions / wavelength - s.low_freq_factor) / (
                s.high_freq_factor - s.low_freq_factor
            )
            share = 0.0 if wavelength < shortest else 1.0 if wavelength > longest else 1 - smooth
        elif s.type == "yarn":
            first, last = (
                size * math.log(s.original_max_positions / (2 * math.pi * turns)) / (2 * math.log(theta))
                for turns in (s.beta_fast, s.beta_slow)
            )
            if s.truncate:
                first, last = math.floor(first), math.ceil(last)
            first, last = max(first, 0), min(last, size - 1)
            if first == last:
                last += 0.001
            share = min(max((pair - first) / (last - first), 0), 1)
        else:
            share = 0.0
        if s.type == "longrope":
            plain /= s.short_factors[pair]
        found.append(plain * (1 - share) + plain / s.factor * share if share else plain)
    return found


LLAMA3 = {"type": "llama3", "factor": 8.0, "original_max_positions": 64}
LONGROPE = {"type": "longrope", "short_factors": (1.0, 1.0, 1.25, 1.5, 2.0, 2.5, 3.0, 4.0, 5.0, 9.0, 30.0, 64.0)}
YARN = {"type": "yarn", "factor": 4.0, "attention_factor": 1.0}


@pytest.mark.parametrize(
    ("theta", "scaling"),
    [
        (10000.0, {}),
        (10000.0, {"type": "dynamic", "factor": 2.0, "original_max_positions": 99}),
        (10000.0, {"type": "linear", "factor": 3.0}),
        (10000.0, {**LONGROPE, "original_max_positions": 99, "attention_factor": 1.5}),
        (500.0, {**LLAMA3, "low_freq_factor": 1.0, "high_freq_factor": 4.0}),
        (500.0, {**LLAMA3, "low_freq_factor": 0.5, "high_freq_factor": 9.0}),
        (10000.0, {**YARN, "original_max_positions": 4096, "beta_fast": 32.0, "beta_slow": 1.0}),
        (10000.0, {**YARN, "original_max_positions": 4096, "beta_fast": 32.0, "beta_slow": 1.0, "truncate": True}),
        # begins before the first pair, and ends behind the last
        (10000.0, {**YARN, "original_max_positions": 64, "beta_fast": 32.0, "beta_slow": 1.0, "truncate": True}),
        (10000.0, {**YARN, "original_max_positions": 64, "beta_fast": 32.0, "beta_slow": 1.0}),
        (10.0, {**YARN, "original_max_positions": 10**9, "beta_fast": 3e7, "beta_slow": 1.0}),
        # no pair between the two
        (10000.0, {**YARN, "original_max_positions": 4096, "beta_fast": 2.0, "beta_slow": 2.0}),
    ],
)
def test_frequencies_are_scaled_as_their_papers_say(theta: float, scaling: dict[str, Any]) -> None:
    model = config(head_dim=24, rope_theta=theta, rope_scaling=exporter.RopeScaling(**scaling))
    found = frequencies_of(model)
    assert found.shape == (12,)
    assert found.tolist() == pytest.approx(scaled(model), rel=1e-13, abs=0)


@pytest.mark.parametrize("truncate", [False, True])
@pytest.mark.parametrize("original", [4096, 10**9], ids=["within the pairs", "beyond the last index"])
def test_yarn_counts_the_pairs_of_the_rotated_part_alone(original: int, truncate: bool) -> None:
    betas = {"beta_fast": original / 128, "beta_slow": 1.0, "truncate": truncate}
    scaling = exporter.RopeScaling(**{**YARN, "original_max_positions": original, **betas})
    model = config(head_dim=24, rotary_dim=16, rope_theta=10000.0, rope_scaling=scaling)
    found = frequencies_of(model)
    assert found.shape == (8,)
    assert found.tolist() == pytest.approx(scaled(model), rel=1e-13, abs=0)
    # some pairs are kept, some divided, and some blended
    ratios = (plain_frequencies(16, 10000.0) / found).round(6)
    assert ratios[0] == 1
    assert len(set(ratios)) > 3
