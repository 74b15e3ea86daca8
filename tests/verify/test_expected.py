"""The verifier's own quantization against the exporter's: two roads, one answer."""

from __future__ import annotations

import numpy as np
import torch
from helpers.models import same_bits
from helpers.strategies import weights
from hypothesis import example, given
from hypothesis import strategies as st

import exporter
from verify.expected import dequantized, quantized, rounding_bound


@st.composite
def cases(draw: st.DrawFn) -> tuple[np.ndarray, int]:
    group_size = draw(st.sampled_from([1, 3, 32]))
    return draw(weights(group_size)), group_size


@given(cases())
@example((np.full((1, 2), np.finfo(np.float32).max), 2))
@example((np.full((1, 3), 2.0**-149, np.float32), 3))
def test_both_roads_give_the_same_bits(case: tuple[np.ndarray, int]) -> None:
    w, group_size = case
    theirs = exporter.quantize_q80(w, group_size)
    q, scale = quantized(torch.from_numpy(w.copy()), group_size)
    assert same_bits(q.numpy(), theirs.q)
    assert same_bits(scale.numpy(), theirs.scale)


def test_both_roads_give_the_same_bits_on_a_million_weights_of_each_source_type() -> None:
    """Half-even against half-away shows in bfloat16 sources far more than in float32 ones."""
    generator = torch.Generator().manual_seed(0)
    for dtype in (torch.float32, torch.bfloat16, torch.float16):
        w = torch.randn(1024, 1024, generator=generator).to(dtype).float()
        theirs = exporter.quantize_q80(w.numpy(), 64)
        q, scale = quantized(w, 64)
        assert same_bits(q.numpy(), theirs.q)
        assert same_bits(scale.numpy(), theirs.scale)


def test_norms_and_fp32_formats_are_left_as_they_are() -> None:
    matrix, vector = torch.randn(4, 8), torch.randn(8)
    assert dequantized(matrix, 0) is matrix
    assert dequantized(vector, 4) is vector
    assert not torch.equal(dequantized(matrix, 4), matrix)


@given(cases())
def test_dequantized_weights_lie_within_the_bound_and_one_rounding(case: tuple[np.ndarray, int]) -> None:
    w = torch.from_numpy(case[0].copy())
    group_size = case[1]
    scale = quantized(w, group_size)[1].repeat_interleave(group_size, dim=1)
    error = (dequantized(w, group_size).double() - w.double()).abs()
    assert (error <= rounding_bound(scale) + 127 * scale.double() * 2.0**-24).all()
