"""Errors, findings and the verdict on tensors, made by hand. Quick, because no file is written."""

from __future__ import annotations

import math
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from verify.checks import tensors
from verify.checks.tensors import TensorReport


@pytest.mark.parametrize(
    ("share", "text"), [(0.98765432, "0.98765"), (0.9999999, "0.9999999"), (1.0, "1"), (0.0, "0.00000")]
)
def test_a_share_of_a_bound_reads_as_one_only_where_it_is_one(share: float, text: str) -> None:
    report = TensorReport("w", (8, 8), "q8_0", 8, 0.1, 0.2, share, 0.1, 20.0)
    verdict = tensors._verdict([], [report], 0.0)
    assert verdict.status == "pass"
    reached = f"; rounding to storage reaches {text} of its bound" if share else ""
    assert verdict.detail == f"1 tensor, every bit as derived from the source{reached}"


@pytest.mark.parametrize(("used", "status"), [(1.0, "pass"), (1.0000001, "fail"), (math.nan, "fail")])
def test_a_tensor_may_use_its_bound_and_no_more(used: float, status: str) -> None:
    fine = TensorReport("fine", (8, 8), "q8_0", 8, 0.1, 0.2, 0.5, 0.1, 20.0)
    report = TensorReport("w", (8, 8), "bf16", 8, 0.1, 0.2, used, 0.1, 20.0)
    verdict = tensors._verdict([], [fine, report], 0.0)
    assert verdict.status == status
    if status == "fail":
        assert verdict.detail == "w: beyond the error bound of bf16"
        assert (verdict.where, verdict.limit) == ({"tensor": "w"}, 1.0)
    verdict = tensors._verdict([], [fine], used)
    assert verdict.status == status
    if status == "pass":
        assert verdict.detail.endswith("; RoPE tables reach 1 of theirs")


def test_an_error_that_is_not_finite_is_beyond_every_bound() -> None:
    report = TensorReport("w", (8, 8), "fp32", 0, math.inf, None, None, math.inf, None)
    verdict = tensors._verdict([], [report], 0.0)
    assert (verdict.status, verdict.observed) == ("fail", math.inf)
    assert verdict.detail == "w: beyond the error bound of fp32, because a number is not finite"


def stored_as(storage: str, group_size: int = 0) -> Any:
    return SimpleNamespace(name="w", storage=storage, group_size=group_size)


def reported_errors(storage: str, *blocks: tuple[list[float], list[float]], lossless: bool = False) -> TensorReport:
    """The report on a vector whose blocks are the source's numbers, and the file's."""
    errors = tensors._Errors(stored_as(storage), lossless=lossless)
    count = 0
    for source, held in blocks:
        kind = {"fp16": np.float16}.get(storage, np.float32)
        errors.add(torch.tensor(source), {storage: np.array(held, kind)})
        count += len(source)
    return errors.report((count,))


def test_errors_of_blocks_are_those_of_the_whole() -> None:
    found = reported_errors("fp16", ([4.0, -2.0], [4.0, -2.25]), ([1.0], [1.5]), ([8.0], [7.5]))
    assert (found.shape, found.storage, found.max_abs_error) == ((4,), "fp16", 0.5)
    assert found.bound == 8 * 2.0**-11
    assert found.utilisation == 0.5 / 2.0**-11
    assert found.rms_error == pytest.approx(math.sqrt((0.25**2 + 0.5**2 + 0.5**2) / 4))
    assert found.snr_db == pytest.approx(10 * math.log10((16 + 4 + 1 + 64) / (0.0625 + 0.25 + 0.25)))


def test_no_error_has_no_ratio_and_neither_has_no_signal() -> None:
    right = reported_errors("fp16", ([4.0], [4.0]))
    assert (right.max_abs_error, right.utilisation, right.rms_error, right.snr_db) == (0.0, 0.0, 0.0, None)
    zeros = reported_errors("fp16", ([0.0], [1.0]))
    assert (zeros.rms_error, zeros.snr_db, zeros.bound) == (1.0, None, 2.0**-25)


def test_lossless_storage_has_no_bound_whatever_its_error() -> None:
    found = reported_errors("fp16", ([1.0], [3.0]), lossless=True)
    assert (found.bound, found.utilisation, found.max_abs_error) == (None, None, 2.0)


@pytest.mark.parametrize("place", [0, 1, 2])
def test_a_nan_in_any_block_stays_the_largest(place: int) -> None:
    blocks = [([1.0], [1.5]), ([1.0], [1.5]), ([1.0], [1.5])]
    blocks[place] = ([1.0], [math.nan])
    found = reported_errors("fp16", *blocks)
    assert found.utilisation is not None
    assert math.isnan(found.max_abs_error)
    assert math.isnan(found.utilisation)
    assert found.snr_db is None


def differing(*blocks: tuple[int, np.ndarray, np.ndarray]) -> Any:
    found = tensors._Differing("w", "fp32")
    for first, expected_bits, found_bits in blocks:
        found.add(first, expected_bits, found_bits)
    return found.finding


def test_the_first_other_element_is_named_and_all_are_counted() -> None:
    right = np.arange(6, dtype=np.float32).reshape(2, 3)
    wrong = right.copy()
    wrong[1, 2] = 9
    assert differing((0, right, right)) is None
    assert differing((4, right, wrong)).text() == "w fp32 [5, 2]: expected 5.0, found 9.0"
    both = wrong.copy()
    both[0, 1] = 8
    found = differing((0, right, right), (2, right, both), (4, right, right), (6, right, wrong))
    assert found.text() == "w fp32 [2, 1]: expected 1.0, found 8.0 (3 differ)"
    assert (found.index, found.count) == ((2, 1), 3)


def test_minus_zero_and_every_nan_are_bits_of_their_own() -> None:
    zero, nan = np.zeros(2, np.float32), np.full(2, np.nan, np.float32)
    other = nan.copy()
    other.view(np.uint32)[1] ^= 1
    assert differing((0, zero, -zero)).count == 2
    assert differing((0, nan, nan.copy())) is None
    assert differing((0, nan, other)).index == (1,)


def test_another_shape_is_one_finding() -> None:
    found = differing((0, np.zeros((2, 3), np.float32), np.zeros((3, 2), np.float32)))
    assert found.text() == "w fp32 []: expected (2, 3), found (3, 2)"
    assert found.count == 1


def test_the_largest_use_of_all_tensors_is_told() -> None:
    reports = [TensorReport(str(use), (8, 8), "bf16", 0, 0.1, 0.2, use, 0.1, 20.0) for use in (0.25, 0.75, 0.5)]
    verdict = tensors._verdict([], reports, 0.125)
    assert verdict.detail == (
        "3 tensors, every bit as derived from the source; rounding to storage reaches 0.75000 of its bound; RoPE "
        "tables reach 0.125 of theirs"
    )
    assert (verdict.observed, verdict.bound) == (0.0, "exact")
    worse = tensors._verdict([], reports, 1.5)
    assert (worse.observed, worse.limit, worse.where) == (1.5, 1.0, {"tensor": "freqs"})


def test_a_group_of_zeros_uses_nothing_of_its_bound() -> None:
    errors = tensors._Errors(stored_as("q8_0", 2), lossless=False)
    stored = {"int8": np.array([[0, 0, 127, 63]], np.int8), "scale": np.array([[0.0, 0.5]], np.float32)}
    errors.add(torch.tensor([[0.0, 0.0, 63.5, 31.6]]), stored)
    found = errors.report((1, 4))
    assert found.max_abs_error == pytest.approx(0.1, rel=1e-5)
    assert found.utilisation == pytest.approx(0.1 / (0.5 * (0.5 + 128 * 2.0**-24)), rel=1e-5)
    assert found.bound == 0.5 * (0.5 + 128 * 2.0**-24)


def test_two_are_already_several() -> None:
    zeros = np.zeros(3, np.float32)
    assert differing((0, zeros, np.array([0, 1, 0], np.float32))).text() == "w fp32 [1]: expected 0.0, found 1.0"
    two = differing((0, zeros, np.array([0, 1, 2], np.float32)))
    assert two.text() == "w fp32 [1]: expected 0.0, found 1.0 (2 differ)"


def test_of_several_findings_the_first_is_told_and_all_elements_are_counted() -> None:
    zeros, ones = np.zeros(3, np.float32), np.ones(3, np.float32)
    first, second = differing((0, zeros, ones)), differing((2, ones, zeros))
    verdict = tensors._verdict([first, second], [], 0.0)
    assert verdict.detail == ("w fp32 [0]: expected 0.0, found 1.0 (3 differ); 1 other part of tensors also differs")
    assert verdict.where == {"tensor": "w", "part": "fp32", "index": [0], "expected": "0.0", "found": "1.0"}
    assert verdict.observed == 6.0
