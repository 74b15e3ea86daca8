"""Wrong conversions differ from the right one only in the step that is named."""

from __future__ import annotations

import numpy as np
import torch
from helpers.mistake_files import hyperparameters
from helpers.mistake_tables import SMALL

from verify.diagnosis import conversions as c
from verify.diagnosis.derivation import Rows

HALVES = torch.tensor([0.5, 1.5, -0.5, -1.5, 2.4, -2.6, 127.0, -127.0]).repeat(4, 1)


def rows(weights: torch.Tensor, storage: str = "q8_0", first: int = 0, last: int | None = None) -> Rows:
    return Rows("x", weights, first, last or len(weights), storage, 8, hyperparameters(SMALL[0]))


def test_the_right_recipe_is_the_default() -> None:
    weights = torch.randn(6, 32, generator=torch.Generator().manual_seed(0))
    found, right = c.requantized()(rows(weights)), rows(weights).healthy()
    assert found is not None
    assert all(torch.equal(found[part], right[part]) for part in right)
    assert c.requantized()(rows(weights, "fp32")) is None


def test_each_rounding_is_its_own() -> None:
    one = torch.ones(())
    expected = {
        c.to_even: [0, 2, 0, -2, 2, -3],
        c.away_from_zero: [1, 2, -1, -2, 2, -3],
        c.half_added: [1, 2, -1, -2, 2, -3],
        c.upwards: [1, 2, 0, -1, 2, -3],
        c.half_added_then_floor: [1, 2, 0, -1, 2, -3],
        c.downwards: [0, 1, -1, -2, 2, -3],
        c.towards_zero: [0, 1, 0, -1, 2, -2],
        c.by_reciprocal: [0, 2, 0, -2, 2, -3],
        c.by_reciprocal_away: [1, 2, -1, -2, 2, -3],
    }
    for rounding, steps in expected.items():
        assert rounding(HALVES[0, :6], one).tolist() == steps, rounding


def test_half_added_rounds_the_sum_itself() -> None:
    under = torch.tensor(np.nextafter(np.float32(0.5), np.float32(0)))
    one = torch.ones(())
    assert (c.half_added(under, one), c.away_from_zero(under, one)) == (1, 0)
    assert (c.half_added_then_floor(under, one), c.upwards(under, one)) == (1, 0)


def test_moved_scales_keep_their_int8_in_any_block_of_rows() -> None:
    weights = torch.randn(6, 32, generator=torch.Generator().manual_seed(0))
    whole = rows(weights).healthy()["scale"]
    for derive, moved in ((c.scales_moved(by_groups=1), 1), (c.scales_moved(by_rows=-1), -4)):
        expected = whole.flatten().roll(moved).view_as(whole)
        for first, last in ((0, 6), (2, 5)):
            found = derive(rows(weights, first=first, last=last))
            assert found is not None
            assert torch.equal(found["scale"], expected[first:last])
            assert torch.equal(found["int8"], rows(weights).healthy()["int8"][first:last])


def test_truncation_never_grows_a_value_and_is_the_next_one_down() -> None:
    weights = torch.randn(4, 64, generator=torch.Generator().manual_seed(1))
    for cut, rounded in ((c.cut_to_bf16, torch.bfloat16), (c.cut_to_fp16, torch.float16)):
        found = cut(weights)
        assert (found.abs() <= weights.abs()).all()
        assert torch.equal(found.to(rounded).float(), found)
        step = (found - weights.to(rounded).float()).abs()
        assert ((step == 0) | (weights.to(rounded).float().abs() > weights.abs())).all()


def test_swapped_bytes_and_the_other_half_precision() -> None:
    part = torch.tensor([[1.0, -2.5]])
    assert c.byte_swapped(part).numpy().tobytes() == part.numpy().byteswap().tobytes()
    assert torch.equal(c.byte_swapped(c.byte_swapped(part)), part)
    half = c.other_half(rows(HALVES, "fp16"))
    assert half is not None
    assert half["fp16"].numpy().tobytes() == HALVES.bfloat16().view(torch.int16).numpy().tobytes()
    assert c.other_half(rows(HALVES, "fp32")) is None


def test_values_after_another_quantization() -> None:
    weights = torch.randn(4, 64, generator=torch.Generator().manual_seed(1))
    found = c.through_q8(32)(rows(weights, "fp32"))
    assert found is not None
    assert 0 < float((found["fp32"] - weights).abs().max()) < 0.05
    assert c.through_q8(128)(rows(weights, "fp32")) is None
    assert c.changed("scale", change=torch.zeros_like)(rows(weights, "fp32")) is None
