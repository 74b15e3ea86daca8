"""Tensors of torch.save as the exporter checks, compares and widens them."""

from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers.checkpoints import save, state_dict

import exporter
from exporter.sources.torch_files import _is_followed_soon, checked_tensor, same_bits, to_float32

HALF = torch.tensor([1.0, 2.0, -3.5]).half()


def test_same_bits_are_of_one_type() -> None:
    assert same_bits(HALF, HALF.clone())
    assert same_bits(HALF, HALF)
    # the same bytes, of other numbers; in one storage too
    assert not same_bits(HALF, HALF.view(torch.bfloat16))
    assert not same_bits(HALF, HALF.view(torch.bfloat16).clone())
    assert not same_bits(torch.zeros(2), -torch.zeros(2))
    nan = torch.tensor([float("nan")]).double()
    assert same_bits(nan, nan.clone())
    # one place, read in another order
    square = torch.arange(4.0).view(2, 2)
    assert not same_bits(square, square.T)
    for at in range(3):
        changed = HALF.clone()
        changed[at] = torch.nextafter(changed[at], torch.tensor(9.0).half())
        assert not same_bits(HALF, changed)


@pytest.mark.parametrize(
    ("value", "found"),
    [
        (torch._neg_view(torch.ones(3)), "expected a tensor with its numbers, found a negated view"),
        (torch.ones(3, device="meta"), "expected a tensor with its numbers, found one on meta"),
        (torch.ones(3).to_sparse(), "expected a dense tensor, found Tensor"),
        (torch.ones(3, dtype=torch.int8), "expected a floating-point tensor, found torch.int8"),
        (torch.ones(1).expand(2), "expected 8 bytes behind it, found 4"),
        ([1.0], "expected a dense tensor, found list"),
    ],
)
def test_odd_tensors_are_refused_by_what_they_are(value: object, found: str) -> None:
    with pytest.raises(exporter.CheckpointError, match=rf"^here: {found}$"):
        checked_tensor("here", value)


def test_as_many_bytes_as_numbers_need_are_enough() -> None:
    whole = torch.ones(3)
    assert whole.untyped_storage().nbytes() == 12
    assert checked_tensor("here", whole) is whole


@pytest.mark.parametrize("name", ["norm.weight", "tok_embeddings.weight"])
def test_a_negated_view_is_refused_by_its_name(tmp_path: Path, name: str) -> None:
    state = state_dict()
    state[name] = torch._neg_view(state[name].clone())
    with pytest.raises(exporter.CheckpointError, match=rf"{name}: expected a tensor .*, found a negated view$"):
        exporter.open_checkpoint(save(tmp_path, state))


def test_equal_bits_of_two_types_are_two_matrices(tmp_path: Path) -> None:
    state = state_dict()
    state["output.weight"] = state["tok_embeddings.weight"].half()
    state["tok_embeddings.weight"] = state["output.weight"].view(torch.bfloat16).clone()
    with pytest.raises(exporter.CheckpointError, match=r"expected the numbers of tok_embeddings\.weight"):
        exporter.open_checkpoint(save(tmp_path, state))


def test_float64_widens_to_float32_up_to_its_last_bit() -> None:
    exact = torch.tensor([1 + 2.0**-23, float("nan"), 2.0**-149, 3.4028234663852886e38], dtype=torch.float64)
    assert np.array_equal(to_float32("here", exact), exact.float().numpy(), equal_nan=True)
    for value in (1 + 2.0**-24, 2.0**-150, 1e39):
        with pytest.raises(exporter.WeightError, match=r"here\[1\]: expected a value that float32 can hold, found "):
            to_float32("here", torch.tensor([1.0, value], dtype=torch.float64))


@pytest.mark.parametrize(("inner", "most"), [(0, 10_000), (5, 9_994)])
def test_a_tuple_holds_ten_thousand_values_written_out(inner: int, most: int) -> None:
    """A tuple within it counts as one value and as what it holds."""
    for count, fits in ((most, True), (most + 1, False)):
        value = (*range(count), *([tuple(range(inner))] if inner else []))
        for protocol in (2, 4):
            assert _is_followed_soon(pickle.dumps(value, protocol)) == fits
