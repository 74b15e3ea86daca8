"""int8 activations and their products are computed again to the bit of runq.c."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from verify.operations.bounds import utilisation
from verify.operations.int8 import Replay, half_away, judge_steps, quotients


def runq_steps(x: np.ndarray, group: int) -> tuple[np.ndarray, np.ndarray]:
    """runq.c's quantize(), group by group, with roundf."""
    grouped = x.reshape(-1, group)
    scale = (np.abs(grouped).max(axis=1, keepdims=True) / np.float32(127)).astype(np.float32)
    steps = grouped / np.where(scale == 0, np.float32(1), scale)
    rounded = np.copysign(np.floor(np.abs(steps.astype(np.float64)) + 0.5), steps)
    return rounded.astype(np.int8).reshape(x.shape), scale.reshape(len(x), -1)


@given(st.integers(0, 2**31))
def test_right_steps_and_scales_are_within_their_bounds_and_the_same_bits(seed: int) -> None:
    x = np.random.default_rng(seed).standard_normal((5, 16)).astype(np.float32)
    x[2] = 0
    steps, scale = (torch.from_numpy(part) for part in runq_steps(x, 8))
    found = list(judge_steps("gate", torch.from_numpy(x)[None], steps[None], scale[None]))
    assert [one.operation for one in found] == ["gate scale", "gate int8"] * 2
    assert [one.replay for one in found] == [False, False, True, True]
    for one in found:
        assert float(utilisation((one.out - one.exact).abs(), one.bound).max()) <= 1


def test_one_step_too_many_is_beyond_its_bound() -> None:
    x = torch.full((1, 1, 8), 0.5)
    x[0, 0, 0] = 127.0
    steps, scale = (torch.from_numpy(part) for part in runq_steps(x.numpy()[0], 8))
    steps[0, 3] += 1
    beyond = [
        one.operation
        for one in judge_steps("q", x, steps[None], scale[None])
        if float(utilisation((one.out - one.exact).abs(), one.bound).max()) > 1
    ]
    assert beyond == ["q int8"] * 2


def test_quotients_of_a_group_of_zeros_are_zeros_and_halves_go_away_from_zero() -> None:
    x = torch.tensor([[0.0, 0.0, 127.0, -63.5]])
    assert quotients(x, 2).tolist() == [[0.0, 0.0, 127.0, -63.5]]
    values = torch.tensor([0.5, -0.5, 1.49, -2.5], dtype=torch.float64)
    assert half_away(values).tolist() == [1.0, -1.0, 1.0, -3.0]


@pytest.mark.parametrize("biased", [False, True])
def test_a_replayed_product_has_the_bits_of_a_loop_over_groups(biased: bool) -> None:
    rng = np.random.default_rng(0)
    steps, matrix = (rng.integers(-127, 128, (rows, 24)).astype(np.int8) for rows in (3, 5))
    of_steps, of_matrix = (rng.random((rows, 3)).astype(np.float32) for rows in (3, 5))
    bias = rng.random(5).astype(np.float32) if biased else None
    expected = np.zeros((3, 5), np.float32)
    for token in range(3):
        for row in range(5):
            total = np.float32(0)
            for group in range(3):
                part = slice(8 * group, 8 * group + 8)
                integers = np.float32(int(steps[token, part].astype(int) @ matrix[row, part].astype(int)))
                total += integers * of_matrix[row, group] * of_steps[token, group]
            expected[token, row] = total + (bias[row] if bias is not None else np.float32(0))
    replay = Replay(
        torch.from_numpy(steps), torch.from_numpy(of_steps), (torch.from_numpy(matrix), torch.from_numpy(of_matrix))
    )
    for rows in (slice(0, 5), slice(2, 4)):
        bits, exact, bound = replay.judge(rows, None if bias is None else torch.from_numpy(bias))
        assert bits.numpy().tobytes() == np.ascontiguousarray(expected[:, rows]).tobytes()
        unbiased = replay.judge(rows, None)[0].double()
        assert ((unbiased - exact).abs() <= bound).all()
