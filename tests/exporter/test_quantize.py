"""Q8_0: its bound, its fixed points, its answers where llama2.c's formula has none."""

from __future__ import annotations

import numpy as np
import pytest
from helpers.models import same_bits
from hypothesis import example, given
from hypothesis import strategies as st

import exporter
from exporter import quantize
from exporter.quantize import LARGEST_SCALE
from verify.testing import weights

UNIT = 2.0**-24


def decode(quantized: exporter.Quantized, group_size: int) -> np.ndarray:
    grouped = quantized.q.reshape(*quantized.scale.shape, group_size).astype(np.float32)
    return (grouped * quantized.scale[..., None]).reshape(quantized.q.shape)


@st.composite
def grouped_weights(draw: st.DrawFn) -> tuple[np.ndarray, int]:
    group_size = draw(st.sampled_from([1, 2, 7, 32, 64]))
    return draw(weights(group_size)), group_size


@given(grouped_weights())
def test_error_stays_within_the_bound(case: tuple[np.ndarray, int]) -> None:
    w, group_size = case
    quantized = exporter.quantize_q80(w, group_size)
    # in float64, where the product of q and scale is exact
    scale = np.repeat(quantized.scale.astype(np.float64), group_size, axis=-1)
    error = np.abs(w - quantized.q * scale)
    assert (error <= scale * (0.5 + 128 * UNIT)).all()
    assert quantized.max_error == error.max()
    assert quantized.max_error <= quantized.max_bound


@given(grouped_weights())
def test_scales_are_zero_or_normal_and_q_is_symmetric(case: tuple[np.ndarray, int]) -> None:
    w, group_size = case
    quantized = exporter.quantize_q80(w, group_size)
    groups = w.reshape(-1, group_size)
    zero = (groups == 0).all(axis=1)
    scales = quantized.scale.ravel()
    assert (scales[zero] == 0).all()
    assert (scales[~zero] >= 2.0**-126).all()
    assert np.abs(quantized.q.astype(int)).max(initial=0) <= 127
    assert (quantized.q.reshape(-1, group_size)[zero] == 0).all()


@given(grouped_weights())
@example((np.full((1, 2), np.finfo(np.float32).max), 2))
def test_encoding_again_changes_nothing(case: tuple[np.ndarray, int]) -> None:
    """But for groups below half of the smallest scale, whose q are all zero: they become groups of zeros."""
    w, group_size = case
    first = exporter.quantize_q80(w, group_size)
    second = exporter.quantize_q80(decode(first, group_size), group_size)
    assert same_bits(first.q, second.q)
    emptied = (first.q.reshape(*first.scale.shape, group_size) == 0).all(axis=-1)
    assert same_bits(np.where(emptied, np.float32(0), first.scale), second.scale)


def test_absmax_over_127_is_a_fixed_point_for_every_mantissa() -> None:
    """(127 * s) / 127 rounds twice and moves one float in 128, but none that is itself some a / 127."""
    absmax = np.arange(2**23, 2**24, dtype=np.int32).astype(np.float32)
    scale = absmax / np.float32(127)
    assert same_bits(scale, (np.float32(127) * scale) / np.float32(127))


def test_no_decoded_weight_is_infinite() -> None:
    largest = np.full((1, 4), np.finfo(np.float32).max)
    assert np.isfinite(decode(exporter.quantize_q80(largest, 4), 4)).all()
    above = np.nextafter(LARGEST_SCALE, np.float32(np.inf))
    with np.errstate(over="ignore"):
        assert np.isinf(np.float32(127) * above)


def test_halves_go_to_even() -> None:
    w = np.array([[127.0, 0.5, 1.5, 2.5, -0.5, -1.5, -2.5, -127.0]], np.float32)
    assert exporter.quantize_q80(w, 8).q.tolist() == [[127, 0, 2, 2, 0, -2, -2, -127]]


def test_division_is_not_replaced_by_a_product_with_the_reciprocal() -> None:
    w = np.random.default_rng(1).standard_normal((64, 64)).astype(np.float32)
    quantized = exporter.quantize_q80(w, 64)
    assert same_bits(quantized.scale[:, 0], np.abs(w).max(axis=1) / np.float32(127))
    assert (quantized.q == np.rint(w / quantized.scale)).all()


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_a_weight_that_is_not_finite_is_refused_with_its_index(bad: float) -> None:
    w = np.zeros((300, 1024), np.float32)
    w[299, 17] = bad
    with pytest.raises(exporter.WeightError, match=r"\[299, 17\]: expected a finite weight") as caught:
        exporter.quantize_q80(w, 64)
    assert caught.value.index == (299, 17)


@pytest.mark.parametrize(
    ("shape", "dtype", "group_size"),
    [((4, 6), np.float32, 4), ((4, 6), np.float32, 0), ((4, 6), np.float64, 2), ((), np.float32, 1)],
)
def test_what_does_not_fit_is_refused(shape: tuple[int, ...], dtype: type, group_size: int) -> None:
    with pytest.raises(exporter.FormatError):
        exporter.quantize_q80(np.zeros(shape, dtype), group_size)


def test_the_input_is_left_alone_whatever_its_strides() -> None:
    w = np.random.default_rng(2).standard_normal((64, 48)).astype(np.float32)
    kept = w.copy()
    transposed = exporter.quantize_q80(w.T, 32)
    assert same_bits(w, kept)
    assert same_bits(transposed.q, exporter.quantize_q80(np.ascontiguousarray(w.T), 32).q)


def test_the_bound_is_half_a_step_and_128_units_of_the_largest_scale() -> None:
    w = np.array([[1.0, -254.0, 3.0, 127.0]], np.float32)
    assert exporter.quantize_q80(w, 2).max_bound == 2.0 * (0.5 + 2.0**-17)
    assert exporter.quantize_q80(w, 1).max_bound == 2.0 * (0.5 + 2.0**-17)
    assert exporter.quantize_q80(np.zeros((2, 4), np.float32), 2).max_bound == 0.0


@pytest.mark.parametrize("block", [1, 8, 24, 40, 1 << 17])
@pytest.mark.parametrize("worst", [0, 5, 11])
@pytest.mark.parametrize("sign", [1, -1])
def test_blocks_of_any_size_give_the_same_result(
    monkeypatch: pytest.MonkeyPatch, block: int, worst: int, sign: int
) -> None:
    """Wherever the largest error is, of either sign."""
    w = np.random.default_rng(3).uniform(-1, 1, (12, 8)).astype(np.float32)
    w[:, 0] = 127  # a scale of 1
    w[worst, 3] = sign * 0.5  # a tie, to 0: no other is off by as much
    monkeypatch.setattr(quantize, "_BLOCK", block)
    found = exporter.quantize_q80(w, 8)
    assert found.max_error == 0.5
    assert same_bits(found.q, np.rint(w).astype(np.int8))
    assert same_bits(found.scale, np.ones((12, 1), np.float32))


@pytest.mark.parametrize(
    ("value", "scale"),
    [
        (2.0**-149, 2.0**-126),
        (127 * 2.0**-126, 2.0**-126),
        (254 * 2.0**-126, 2.0**-125),
        (1.0, float(np.float32(1) / np.float32(127))),
        (float(np.finfo(np.float32).max), float(LARGEST_SCALE)),
    ],
)
def test_a_group_at_each_edge_has_the_scale_of_the_format(value: float, scale: float) -> None:
    found = exporter.quantize_q80(np.array([[value, 0, -value / 2]], np.float32), 3)
    assert found.scale.tolist() == [[scale]]
    assert found.q.tolist() == [[round(value / scale), 0, round(-value / 2 / scale)]]


@pytest.mark.parametrize(
    ("shape", "dtype", "group_size", "message"),
    [
        ((4, 6), np.float64, 2, "quantize_q80: expected float32, found float64"),
        (
            (4, 6),
            np.float32,
            4,
            "quantize_q80: group_size: expected a divisor of the last axis of (4, 6), found 4",
        ),
        ((4, 6), np.float32, 0, "quantize_q80: group_size: expected a divisor of the last axis of (4, 6), found 0"),
        ((), np.float32, 1, "quantize_q80: group_size: expected a divisor of the last axis of (), found 1"),
    ],
)
def test_a_refusal_says_what_was_expected(shape: tuple[int, ...], dtype: type, group_size: int, message: str) -> None:
    with pytest.raises(exporter.FormatError) as caught:
        exporter.quantize_q80(np.zeros(shape, dtype), group_size)
    assert str(caught.value) == message


@pytest.mark.parametrize("shape", [(96,), (3, 32), (2, 3, 16), (2, 1, 3, 16)])
def test_groups_lie_along_the_last_axis_of_any_shape(shape: tuple[int, ...]) -> None:
    w = np.random.default_rng(0).standard_normal(96).astype(np.float32)
    found, flat = exporter.quantize_q80(w.reshape(shape), 8), exporter.quantize_q80(w, 8)
    assert (found.q.shape, found.scale.shape) == (shape, (*shape[:-1], shape[-1] // 8))
    assert same_bits(found.q.ravel(), flat.q)
    assert same_bits(found.scale.ravel(), flat.scale)
    with pytest.raises(exporter.FormatError, match=f"divisor of the last axis of .*, found {shape[-1] + 1}"):
        exporter.quantize_q80(w.reshape(shape), shape[-1] + 1)
