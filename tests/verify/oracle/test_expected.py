"""The verifier's own quantization against the exporter's: two roads, one answer."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from helpers.models import same_bits
from hypothesis import example, given
from hypothesis import strategies as st
from torch.utils._python_dispatch import TorchDispatchMode

import exporter
from exporter.encode import encode
from verify.oracle import expected
from verify.oracle.expected import half_bound, numbers, parts, quantized, rounding_bound
from verify.system.pulse import DERIVED, heard_by
from verify.testing import weights


@st.composite
def cases(draw: st.DrawFn) -> tuple[np.ndarray, int]:
    group_size = draw(st.sampled_from([1, 3, 32]))
    return draw(weights(group_size)), group_size


@given(cases())
@example((np.full((1, 2), np.finfo(np.float32).max), 2))
@example((np.full((1, 3), 2.0**-149, np.float32), 3))
@example((np.array([[1, -1e-9]], np.float32), 2))
def test_both_roads_give_the_same_bits(case: tuple[np.ndarray, int]) -> None:
    hold_together(torch.from_numpy(case[0].copy()), case[1])


def hold_together(w: torch.Tensor, group_size: int) -> None:
    theirs = exporter.quantize_q80(w.numpy(), group_size)
    q, scale = quantized(w, group_size)
    assert same_bits(q.numpy(), theirs.q)
    assert same_bits(scale.numpy(), theirs.scale)
    # an engine's weights: integers have one zero
    multiplied = theirs.q.astype(np.float32) * np.repeat(theirs.scale, group_size, axis=1)
    assert same_bits(numbers(w, "q8_0", group_size).numpy(), multiplied)


def test_both_roads_give_the_same_bits_on_a_million_weights_of_each_source_type() -> None:
    """Half-even against half-away shows in bfloat16 sources far more than in float32 ones."""
    generator = torch.Generator().manual_seed(0)
    for dtype in (torch.float32, torch.bfloat16, torch.float16):
        w = torch.randn(1024, 1024, generator=generator).to(dtype).float()
        hold_together(w, 64)


@pytest.mark.parametrize("block", [1, 96, 100, 1000])
def test_blocks_of_any_size_give_the_same_bits(monkeypatch: pytest.MonkeyPatch, block: int) -> None:
    w = torch.randn(37, 96, generator=torch.Generator().manual_seed(1)) * torch.logspace(-3, 3, 37)[:, None]
    monkeypatch.setattr(expected, "_BLOCK", block)
    slices = list(expected.blocks(w))
    assert [row for rows in slices for row in range(37)[rows]] == list(range(37))
    rows_of_a_block = max(1, block // 96)
    assert [len(range(37)[rows]) for rows in slices[:-1]] == [rows_of_a_block] * (-(-37 // rows_of_a_block) - 1)
    hold_together(w, 32)


def test_a_group_at_each_edge_has_the_answer_of_the_format() -> None:
    least = 2.0**-126
    for value, scale in (
        (0.0, 0.0),
        (2.0**-149, least),
        (127 * least, least),
        (254 * least, 2 * least),
        (1.0, float(np.float32(1.0) / np.float32(127))),
        (float(np.finfo(np.float32).max), float.fromhex("0x1.020406p+121")),
    ):
        q, found = quantized(torch.tensor([[value, -value, value / 2, 0.0]]), 4)
        assert found.tolist() == [[scale]]
        assert q.tolist() == [[round(value / scale * s) if scale else 0 for s in (1, -1, 0.5, 0)]]
    # halves go to even, and no step is beyond 127
    q, _ = quantized(torch.tensor([[127.0, 0.5, 1.5, 2.5, -0.5, -1.5, -2.5, -127.0]]), 8)
    assert q.tolist() == [[127, 0, 2, 2, 0, -2, -2, -127]]


def test_fp32_is_left_as_it_is_and_nothing_else() -> None:
    matrix = torch.randn(4, 8)
    assert torch.equal(numbers(matrix, "fp32", 0), matrix)
    for storage, group_size in (("fp16", 0), ("bf16", 0), ("q8_0", 4)):
        assert not torch.equal(numbers(matrix, storage, group_size), matrix)


@given(cases(), st.sampled_from(["fp16", "bf16"]))
@example((np.full((1, 2), 65504, np.float32), 2), "fp16")
@example((np.array([[2.0**-25, 2.0**-24 * 1.5, -(2.0**-133), 1 + 2.0**-8]], np.float32), 4), "bf16")
def test_both_roads_narrow_to_the_same_halves_within_their_bound(case: tuple[np.ndarray, int], storage: str) -> None:
    w = case[0]
    mine = torch.from_numpy(w.copy())
    if not torch.isfinite(numbers(mine, storage, 0)).all():
        with pytest.raises(exporter.WeightError, match=f"a weight that {storage} can hold"):
            encode(w, storage, 0, "here")
        return
    theirs = encode(w, storage, 0, "here")
    halves = parts(mine, storage, 0)[storage].view(torch.int16).numpy()
    assert halves.tobytes() == theirs.parts[storage].tobytes()
    error = (numbers(mine, storage, 0).double() - mine.double()).abs()
    assert (error <= half_bound(mine, storage)).all()
    assert theirs.max_error == float(error.max()) <= theirs.bound


def test_halves_reach_their_bound() -> None:
    """A bound twice as large would let a truncating writer pass."""
    for storage, step in (("fp16", 2.0**-10), ("bf16", 2.0**-7)):
        w = torch.tensor([[1 + step / 2]])
        error = (numbers(w, storage, 0).double() - w.double()).abs()
        assert float(error / half_bound(w, storage)) > 0.99 / (1 + step / 2)


def test_q8_0_uses_half_of_what_its_bound_has_beyond_a_half() -> None:
    """A quotient between 64 and 128 is rounded by at most 64 u: the bound takes 128 u, and no more."""
    rng = np.random.default_rng(0)
    peak = rng.uniform(127, 254, 200_000).astype(np.float32)
    near = (126.5 * (peak / np.float32(127)).astype(np.float64)).astype(np.float32)
    near += np.spacing(np.float32(126)) * rng.integers(-2, 3, len(peak)).astype(np.float32)
    w = torch.from_numpy(np.stack((peak, near), axis=1))
    q, scale = quantized(w, 2)
    beyond = (q.double() * scale.double() - w.double()).abs().amax(1, keepdim=True) / scale.double() - 0.5
    assert 63 * 2.0**-24 < float(beyond.max()) <= 64 * 2.0**-24
    allowed = rounding_bound(scale) / scale.double() - 0.5
    assert 0.49 < float((beyond / allowed).max()) <= 0.5
    theirs = exporter.quantize_q80(w.numpy()[[int(beyond.argmax())]], 2)
    assert theirs.max_error / theirs.max_bound == pytest.approx(
        (0.5 + 64 * 2.0**-24) / (0.5 + 128 * 2.0**-24), rel=1e-7
    )


@given(cases())
def test_dequantized_weights_lie_within_the_bound_and_one_rounding(case: tuple[np.ndarray, int]) -> None:
    w = torch.from_numpy(case[0].copy())
    group_size = case[1]
    scale = quantized(w, group_size)[1].repeat_interleave(group_size, dim=1)
    error = (numbers(w, "q8_0", group_size).double() - w.double()).abs()
    assert (error <= rounding_bound(scale) + 127 * scale.double() * 2.0**-24).all()


class FiniteOnly(TorchDispatchMode):
    """Refuses an operation whose result holds a number that is not finite."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        made = func(*args, **(kwargs or {}))
        with torch.utils._python_dispatch._disable_current_modes():
            finite = not isinstance(made, torch.Tensor) or not made.is_floating_point() or made.isfinite().all()
        assert finite, func
        return made


def test_a_group_of_zeros_is_never_divided_by_zero() -> None:
    """0 / 0 is NaN, and what a processor makes of NaN as an integer is its own choice."""
    with FiniteOnly():
        q, scale = expected._quantized(torch.tensor([[0.0, 0.0, 3.0, 127.0]]), 2)
    assert (q.tolist(), scale.tolist()) == ([[0, 0, 3, 127]], [[0.0, 1.0]])


def test_progress_counts_every_weight_in_any_number_of_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    w = torch.randn(6, 8)
    for block, count in ((48, 1), (8, 6), (16, 3)):
        monkeypatch.setattr(expected, "_BLOCK", block)
        heard: list[float] = []
        with heard_by(heard.append):
            quantized(w, 4)
        assert heard == pytest.approx([DERIVED * 48 / count] * count)
