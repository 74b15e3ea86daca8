"""int8 activations and their products are computed again to the bit of runq.c."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from verify.operations.bounds import TAU, quantized_product, utilisation
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


@pytest.mark.parametrize("size", [1032, 1033, 2064, 132_104])
@pytest.mark.parametrize("value", [127, -127])
def test_a_replayed_product_of_large_groups_is_that_of_integers(size: int, value: int) -> None:
    """Sums beyond 2^24, which float32 would round on the way: the largest ones, and such as end in odd numbers."""
    rng = np.random.default_rng(size)
    steps = np.full((3, 2 * size), 127, np.int8)
    matrix = np.full((4, 2 * size), value, np.int8)
    steps[1:] = rng.integers(100, 128, (2, 2 * size))
    matrix[1:] = rng.integers(100, 128, (3, 2 * size))
    integers = np.einsum(
        "tgi,rgi->trg",
        steps.reshape(3, 2, size).astype(np.int64),
        matrix.reshape(4, 2, size).astype(np.int64),
    )
    ones = [torch.ones(rows, 2) for rows in (3, 4)]
    ones[0][:, 1] = ones[1][:, 1] = 0.0  # the first group alone
    bits, exact, bound = Replay(torch.from_numpy(steps), ones[0], (torch.from_numpy(matrix), ones[1])).judge(
        slice(0, 4), None
    )
    assert exact.tolist() == integers[..., 0].tolist()
    assert bits.tolist() == integers[..., 0].astype(np.float32).tolist()
    assert (bits.double() - exact).abs().max() <= bound.max()
    units = 2 + 1 + (size > 1032)
    magnitude = np.abs(integers[..., 0])
    assert bound.numpy() == pytest.approx(units * 2.0**-24 * magnitude, rel=1e-5)


def test_the_bound_of_a_product_covers_sums_that_float32_rounded_down() -> None:
    """The verifier adds magnitudes in float32; what it loses is given back, and little more."""
    count = 5000
    ones = torch.ones(1, count, dtype=torch.int8)
    scale = torch.full((1, count), 2.0**-24)
    scale[0, 0] = 1.0
    bits, exact, bound = Replay(ones, scale, (ones, torch.ones(1, count))).judge(slice(0, 1), None)
    assert float(bits) == 1.0
    assert float(exact) == 1 + (count - 1) * 2.0**-24
    used = float(utilisation((bits.double() - exact).abs(), bound))
    assert 0.99 < used <= 1
    # float32 adds the magnitudes to 1: what it may have lost is a gamma of as many roundings
    gamma = (count + 3) * 2.0**-24 / (1 - (count + 3) * 2.0**-24)
    above = torch.tensor(1 + 2 * gamma + 2 * count * TAU, dtype=torch.float64)
    assert float(bound) == pytest.approx(float(quantized_product(above, count, 1)), rel=1e-12, abs=0)
    nothing = Replay(ones, scale * 0, (ones, torch.ones(1, count))).judge(slice(0, 1), None)[2]
    assert float(nothing) == pytest.approx(count * 2.0**-150, rel=2e-3, abs=0)
    least = torch.tensor(2 * count * TAU, dtype=torch.float64)
    assert float(nothing) == pytest.approx(float(quantized_product(least, count, 1)), rel=1e-12, abs=0)


def test_steps_beyond_127_are_clamped_and_a_smaller_scale_is_wrong() -> None:
    """Of subnormal numbers: 190 units make a scale of 1, and quotients of 190."""
    x = torch.tensor([[[190.0, -190.0, 100.0, 0.0]]]).double().mul(2.0**-149).float()
    scale = torch.full((1, 1, 1), 2.0**-149)
    steps = torch.tensor([[[127, -127, 100, 0]]], dtype=torch.int8)
    for one in judge_steps("q", x, steps, scale):
        assert float(utilisation((one.out - one.exact).abs(), one.bound).max()) <= 1
    assert [one.exact.flatten().tolist() for one in judge_steps("q", x, steps, scale)][3] == [127, -127, 100, 0]
    wrong = torch.tensor([[[126, -127, 100, 0]]], dtype=torch.int8)
    beyond = [
        float(utilisation((o.out - o.exact).abs(), o.bound).max()) > 1 for o in judge_steps("q", x, wrong, scale)
    ]
    assert beyond == [False, True, False, True]


def test_every_group_has_its_own_scale() -> None:
    x = torch.tensor([[127.0, 1.0, -0.25, 0.5, 0.0, 0.0]])
    assert quotients(x, 3).tolist() == [[127.0, 1.0, -63.5, 127.0, 0.0, 0.0]]
    assert quotients(x, 1).tolist() == [[127.0, 1.0, -0.25, 0.5, 0.0, 0.0]]


@pytest.mark.parametrize("size", [1032, 1033, 1040])
def test_a_stored_weight_of_minus_128_is_multiplied_exactly(size: int) -> None:
    """No exporter writes it, and a file may hold it: then sums are odd numbers beyond 2^24 sooner."""
    steps, matrix = torch.full((1, size), 127, dtype=torch.int8), torch.full((1, size), -128, dtype=torch.int8)
    matrix[0, 0] = -127
    one = torch.ones(1, 1)
    _bits, exact, _bound = Replay(steps, one, (matrix, one)).judge(slice(0, 1), None)
    assert exact.tolist() == [[-127 * 128 * (size - 1) - 127 * 127]]
