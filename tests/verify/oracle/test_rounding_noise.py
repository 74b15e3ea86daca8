"""Noise is none without draws, and has the stated variance with them."""

from __future__ import annotations

import math

import pytest
import torch

from verify.oracle import rounding_noise
from verify.oracle.rounding_noise import ROUNDING_VARIANCE, UNIT, Noise

DRAWS = 4000


def spread(noisy: torch.Tensor, exact: torch.Tensor) -> torch.Tensor:
    return (noisy[1:].double() - exact).square().mean(0)


def test_without_draws_every_result_stays_as_it_is() -> None:
    noise, y, w = Noise(), torch.randn(2, 3, 4), torch.randn(4, 4)
    for found in (noise.rounded(y), noise.within(y, y, 2), noise.product(y, y, w), noise.by_constant(y, 3.0)):
        assert found is y
    assert noise.angle(y, 4, 1e4) is y
    assert noise.softmax(y, y) is y


def test_the_clean_windows_stay_exact_and_the_others_have_the_variance_of_a_rounding() -> None:
    exact = torch.tensor([1.0, -3.0, 0.0], dtype=torch.float64)
    y = exact.repeat(1 + DRAWS, 1)
    noisy = Noise(1, DRAWS, seed=1).rounded(y, roundings=2.0)
    assert torch.equal(noisy[0], exact)
    expected = 2 * ROUNDING_VARIANCE * exact.square()
    torch.testing.assert_close(spread(noisy, exact), expected, rtol=0.1, atol=0)


def test_a_sum_in_order_has_the_variance_of_its_walk() -> None:
    a, w = torch.rand(1, 64, dtype=torch.float64), torch.rand(64, 1, dtype=torch.float64)
    exact = a @ w
    noisy = Noise(1, DRAWS, seed=2).product(exact.repeat(1 + DRAWS, 1), a.repeat(1 + DRAWS, 1), w)
    expected = ROUNDING_VARIANCE * Noise.of_product(exact, a, w)
    torch.testing.assert_close(spread(noisy, exact), expected[0], rtol=0.1, atol=0)
    assert float(expected) == pytest.approx(
        float(ROUNDING_VARIANCE * ((64 / 6 + 1) * (a.square() @ w.square()) + 64 / 3 * exact.square()))
    )


@pytest.mark.parametrize("block", [1, 700, 1 << 18])
def test_the_columns_of_a_matrix_have_one_variance_in_blocks_of_any_size(
    monkeypatch: pytest.MonkeyPatch, block: int
) -> None:
    generator = torch.Generator().manual_seed(4)
    a, w = (torch.randn(rows, 10, generator=generator) for rows in (3, 300))
    y, (lengths, shape) = a @ w.T, (a.square().sum(dim=1, keepdim=True), a.square().sum(dim=0))
    expected = (10 / 6 + 1) * lengths * (shape @ w.T.square() / shape.sum()) + 10 / 3 * y.square()
    monkeypatch.setattr(rounding_noise, "_BLOCK", block)
    found = Noise.of_product(y, a, w.T)
    torch.testing.assert_close(found, expected, rtol=1e-6, atol=0)
    # as for the same numbers in another place of memory, and for the first columns alone
    torch.testing.assert_close(Noise.of_product(y, a, w.T.contiguous()), expected, rtol=1e-6, atol=0)
    assert torch.equal(Noise.of_product(y[:, :128], a, w[:128].T), found[:, :128])


def test_a_constant_s_rounding_moves_everything_by_one_factor_of_known_size() -> None:
    y = torch.ones(1 + DRAWS, 5, dtype=torch.float64)
    constant = math.sqrt(10.0)
    noisy = Noise(1, DRAWS, seed=3).by_constant(y, constant)
    error = abs(float(torch.tensor(constant, dtype=torch.float32)) / constant - 1)
    assert 0 < error < UNIT
    assert torch.allclose((noisy[1:] - 1).abs(), torch.full((), error).double(), rtol=1e-6, atol=0)
    assert (noisy == noisy[:, :1]).all()


def test_the_first_pair_s_angle_has_no_error_of_its_frequency() -> None:
    angle = torch.full((1, 2), 100.0, dtype=torch.float64)
    found = Noise(1, DRAWS, seed=4).angle(angle.repeat(2, 1), 4, 1e4)
    first, second = spread(found, found[:1]).mean(0) / 100**2 / ROUNDING_VARIANCE
    assert float(first) == pytest.approx(1.0, rel=0.1)
    assert float(second) == pytest.approx(3.0, rel=0.1)
