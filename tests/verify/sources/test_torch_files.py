"""Tensors of torch.save as the verifier tells them apart: by type, by bits, by what lies behind them."""

from __future__ import annotations

import pickle
from contextlib import nullcontext
from pathlib import Path

import pytest
import torch
from helpers.checkpoints import save, state_dict

from verify.errors import CannotJudgeError
from verify.sources import open_source
from verify.sources.torch_files import _refuse_echoes, dtype_name, identical, is_plain

HALF = torch.tensor([1.0, 2.0, -3.5]).half()


def test_identical_means_type_shape_and_bits() -> None:
    assert identical(HALF, HALF.clone())
    # the same bytes, of other numbers
    assert not identical(HALF, HALF.view(torch.bfloat16))
    assert not identical(HALF, HALF.view(1, 3))
    assert not identical(torch.zeros(2), -torch.zeros(2))
    nan = torch.tensor([float("nan")])
    assert identical(nan, nan.clone())
    assert identical(torch.eye(3)[:, 1:], torch.eye(3)[:, 1:].clone())
    for at in range(3):
        changed = HALF.clone()
        changed[at] = torch.nextafter(changed[at], torch.tensor(9.0).half())
        assert not identical(HALF, changed)


def test_plain_is_what_has_its_numbers_in_its_bytes() -> None:
    assert is_plain(HALF)
    assert is_plain(HALF.double()[1:])
    for odd in (
        torch._neg_view(torch.ones(3)),
        torch.ones(3, device="meta"),
        torch.ones(3).to_sparse(),
        torch.ones(3, dtype=torch.int8),
        torch.ones(3, dtype=torch.complex64),
        [1.0],
    ):
        assert not is_plain(odd)


def test_types_have_the_names_of_a_files_storage() -> None:
    types = {torch.float16: "fp16", torch.bfloat16: "bf16", torch.float32: "fp32", torch.float64: "fp32"}
    assert {dtype: dtype_name(dtype) for dtype in types} == types


@pytest.mark.parametrize("name", ["norm.weight", "tok_embeddings.weight"])
def test_a_negated_view_is_refused_by_its_name(tmp_path: Path, name: str) -> None:
    state = state_dict()
    state[name] = torch._neg_view(state[name].clone())
    with pytest.raises(CannotJudgeError, match=rf"{name}: expected one dense float tensor, found otherwise$"):
        open_source(save(tmp_path, state))


def test_equal_bits_of_two_types_are_two_matrices(tmp_path: Path) -> None:
    state = state_dict()
    state["output.weight"] = state["tok_embeddings.weight"].half()
    state["tok_embeddings.weight"] = state["output.weight"].view(torch.bfloat16).clone()
    with pytest.raises(CannotJudgeError, match="found two that differ"):
        open_source(save(tmp_path, state))


@pytest.mark.parametrize(("inner", "most"), [(0, 10_000), (5, 9_994)])
def test_a_tuple_holds_ten_thousand_values_written_out(inner: int, most: int) -> None:
    """A tuple within it counts as one value and as what it holds; the exporter's road has the same limit."""
    for count in (most, most + 1):
        value = (*range(count), *([tuple(range(inner))] if inner else []))
        for protocol in (2, 4):
            with pytest.raises(ValueError, match=r"^a tuple of more than 10000") if count > most else nullcontext():
                _refuse_echoes(pickle.dumps(value, protocol))
