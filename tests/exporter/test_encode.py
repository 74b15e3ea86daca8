"""encode(): to nearest, ties to even, the exact error and a bound that holds, in the bits of NumPy and ml_dtypes."""

from __future__ import annotations

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

import exporter
from exporter import encode as encode_module
from exporter.encode import encode, to_bf16, to_fp16

LARGEST = float(np.finfo(np.float32).max)
FLOATS = hnp.arrays(np.float32, hnp.array_shapes(max_dims=2, max_side=9), elements=st.floats(-60000, 60000, width=32))


@given(FLOATS)
def test_halves_are_the_nearest_and_the_error_is_exact_and_within_its_bound(weights: np.ndarray) -> None:
    for storage, own in (("fp16", np.dtype(np.float16)), ("bf16", np.dtype(ml_dtypes.bfloat16))):
        found = encode(weights, storage, 0, "a tensor")
        halves = found.parts[storage]
        assert list(found.parts) == [storage]
        assert halves.shape == weights.shape
        assert halves.view(np.uint16).tobytes() == weights.astype(own).view(np.uint16).tobytes()
        error = np.abs(weights.astype(np.float64) - weights.astype(own).astype(np.float64)).max()
        assert found.max_error == error <= found.bound


@given(FLOATS)
def test_float32_is_kept_as_it_is(weights: np.ndarray) -> None:
    found = encode(weights, "fp32", 0, "a tensor")
    assert found.parts["fp32"] is weights
    assert (found.max_error, found.bound) == (0.0, 0.0)


def test_q8_0_is_quantize_q80() -> None:
    weights = np.linspace(-1, 1, 48, dtype=np.float32).reshape(4, 12)
    found, expected = encode(weights, "q8_0", 4, "a tensor"), exporter.quantize_q80(weights, 4)
    assert np.array_equal(found.parts["int8"], expected.q)
    assert np.array_equal(found.parts["scale"], expected.scale)
    assert (found.max_error, found.bound) == (expected.max_error, expected.max_bound)


@pytest.mark.parametrize(("storage", "value"), [("fp16", 65520.0), ("fp16", -65520.0), ("bf16", LARGEST)])
def test_a_weight_that_would_become_infinite_is_refused_with_its_index(storage: str, value: float) -> None:
    weights = np.zeros((700, 500), np.float32)  # more than one block
    weights[[600, 601], 3] = value
    with pytest.raises(exporter.WeightError) as caught:
        encode(weights, storage, 0, "a tensor")
    assert caught.value.index == (600, 3)
    assert str(caught.value) == (
        f"a tensor: [600, 3]: expected a weight that {storage} can hold, found {np.float32(value)}; "
        "choose another storage for this tensor"
    )


def test_ties_go_to_even() -> None:
    bits = np.array([0x3F808000, 0x3F818000, 0x3F808001], np.uint32)
    halves, wide = to_bf16(bits.view(np.float32))
    assert [hex(half) for half in halves] == ["0x3f80", "0x3f82", "0x3f81"]
    assert wide.view(np.uint32).tolist() == [0x3F800000, 0x3F820000, 0x3F810000]
    halves, wide = to_fp16(np.array([2049, 2051, 2049.5], np.float32))
    assert wide.tolist() == [2048, 2052, 2050]
    assert halves.dtype == np.float16


@pytest.mark.parametrize("storage", ["fp16", "bf16"])
def test_what_halves_hold_exactly_has_no_error_and_no_bound(storage: str) -> None:
    found = encode(np.array([0.0, -0.0, 1.5, -(2.0**-14)], np.float32), storage, 0, "a tensor")
    assert (found.max_error, found.bound) == (0.0, 0.0)


@pytest.mark.parametrize(("storage", "unit", "least"), [("fp16", 2.0**-11, 2.0**-25), ("bf16", 2.0**-8, 2.0**-134)])
def test_the_bound_of_halves_is_half_a_unit_and_is_reached(storage: str, unit: float, least: float) -> None:
    tie = np.array([1.0, -(1 + unit)], np.float32)
    found = encode(tie, storage, 0, "a tensor")
    assert (found.max_error, found.bound) == (unit, (1 + unit) * unit)
    tie = np.array([least, 0.0], np.float32)
    found = encode(tie, storage, 0, "a tensor")
    assert (found.max_error, found.bound) == (least, least)


@pytest.mark.parametrize("storage", ["fp16", "bf16"])
@pytest.mark.parametrize("block", [1, 7, 24, 1 << 18])
@pytest.mark.parametrize("worst", [0, 11, 23])
def test_blocks_of_any_size_give_the_same_result(
    monkeypatch: pytest.MonkeyPatch, storage: str, block: int, worst: int
) -> None:
    """Wherever the largest error is and, for the bound, the largest weight."""
    unit = 2.0**-11 if storage == "fp16" else 2.0**-8
    w = np.random.default_rng(0).uniform(-0.5, 0.5, (4, 6)).astype(np.float32)
    w.flat[worst] = 1 + unit
    w.flat[(worst + 12) % 24] = -8.0
    monkeypatch.setattr(encode_module, "_BLOCK", block)
    found = encode(w, storage, 0, "a tensor")
    assert (found.max_error, found.bound) == (unit, 8 * unit)
    own = np.float16 if storage == "fp16" else ml_dtypes.bfloat16
    assert found.parts[storage].tobytes() == w.astype(own).tobytes()
    w.flat[worst] = 3.4e38
    with pytest.raises(exporter.WeightError) as caught:
        encode(w, storage, 0, "a tensor")
    assert caught.value.index == divmod(worst, 6)
