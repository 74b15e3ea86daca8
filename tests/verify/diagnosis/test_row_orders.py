"""Orders of rows are permutations, and llama2.c's and Hugging Face's orders undo each other."""

from __future__ import annotations

import torch
from helpers.mistake_files import hyperparameters
from helpers.mistake_tables import SMALL

from verify.diagnosis.derivation import Rows
from verify.diagnosis.row_orders import half_split, heads_regrouped, interleaved, of_heads, rolled, then, transposed

HYPER = hyperparameters(SMALL[0])


def rows(weights: torch.Tensor, name: str = "layers.0.attention.wq.weight", first: int = 0) -> Rows:
    return Rows(name, weights, first, len(weights), "fp32", 0, HYPER)


def test_the_two_orders_undo_each_other() -> None:
    for count, heads in ((24, 3), (24, 6), (8, 1)):
        one, other = half_split(count, heads), interleaved(count, heads)
        assert one is not None
        assert other is not None
        identity = torch.arange(count)
        assert torch.equal(one.sort().values, identity)
        for composed in (then(one, other), then(other, one)):
            assert composed is not None
            assert torch.equal(composed, identity)


def test_a_head_s_pairs_are_side_by_side_or_half_a_head_apart() -> None:
    assert half_split(8, 2) is not None
    assert half_split(8, 2).tolist() == [0, 2, 1, 3, 4, 6, 5, 7]  # type: ignore[union-attr]
    assert interleaved(8, 1).tolist() == [0, 4, 1, 5, 2, 6, 3, 7]  # type: ignore[union-attr]


def test_an_order_that_does_not_divide_the_rows_does_not_exist() -> None:
    assert half_split(10, 3) is None
    assert interleaved(10, 3) is None
    assert then(half_split(10, 3), interleaved(10, 1)) is None


def test_regrouped_heads_are_a_permutation_of_whole_heads() -> None:
    count = HYPER.n_heads * HYPER.head_dim
    order = heads_regrouped(count, HYPER)
    assert order is not None
    heads = order.view(HYPER.n_heads, HYPER.head_dim)
    assert torch.equal(heads.flatten().sort().values, torch.arange(count))
    assert torch.equal(heads, heads[:, :1] + torch.arange(HYPER.head_dim))
    assert heads[1, 0] == HYPER.n_heads // HYPER.n_kv_heads * HYPER.head_dim


def test_an_order_applies_to_its_own_kind_of_tensor() -> None:
    derive = of_heads("attention.wq", lambda count, _: torch.arange(count).flip(0))
    weights = torch.arange(12.0).view(6, 2)
    found = derive(rows(weights, first=4))
    assert found is not None
    assert torch.equal(found["fp32"], weights[[1, 0]])
    assert derive(rows(weights, "layers.0.attention.wk.weight")) is None


def test_rolled_and_transposed_rows() -> None:
    weights = torch.arange(12.0).view(6, 2)
    down = rolled(1)(rows(weights, first=1))
    assert down is not None
    assert torch.equal(down["fp32"], weights[:5])
    flat = transposed(rows(weights))
    assert flat is not None
    assert torch.equal(flat["fp32"], weights.T.reshape(6, 2))
    assert transposed(rows(torch.ones(6, 1))) is None
