"""The order in which files hold the rows that RoPE pairs."""

from __future__ import annotations

import torch
from helpers.models import hyperparameters
from helpers.qwen3c import qwen3c_config
from hypothesis import given
from hypothesis import strategies as st

from verify.sources import Merge
from verify.sources.in_memory import MemorySource
from verify.sources.row_order import halved, heads_in, in_file_order, is_halved, paired
from verify.testing import random_arrays


def test_two_heads_of_six_by_hand() -> None:
    assert halved(2, 6).tolist() == [0, 2, 4, 1, 3, 5, 6, 8, 10, 7, 9, 11]
    assert paired(2, 6).tolist() == [0, 3, 1, 4, 2, 5, 6, 9, 7, 10, 8, 11]


@given(st.integers(1, 5), st.integers(1, 9))
def test_one_order_undoes_the_other(heads: int, half: int) -> None:
    rows = torch.arange(heads * 2 * half)
    assert torch.equal(rows[halved(heads, 2 * half)][paired(heads, 2 * half)], rows)


def test_which_tensors_have_such_rows() -> None:
    assert [heads_in(f"layers.0.attention.{name}.weight", 6, 3) for name in ("wq", "wk", "q_norm", "k_norm")] == [
        *(6, 3, 1, 1)
    ]
    assert [heads_in(name, 6, 3) for name in ("layers.0.attention.wv.weight", "norm.weight")] == [0, 0]


def test_a_source_in_the_order_of_a_format() -> None:
    model = qwen3c_config()
    arrays = random_arrays(model, 0)
    source = MemorySource(hyperparameters(model), lambda name: arrays[name])
    assert [name for name in ("v0", "v1", "v1-fp32", "v2", "v3", "ajc1", "hf") if is_halved(name)] == ["ajc1"]
    assert in_file_order(source, "v2") is source
    arranged = in_file_order(source, "ajc1")
    assert arranged.hyperparameters == source.hyperparameters
    moved = [name for name in arrays if not torch.equal(arranged.tensor(name), source.tensor(name))]
    kinds = ("attention.wq", "attention.wk", "attention.q_norm", "attention.k_norm")
    assert set(moved) == {f"layers.{number}.{kind}.weight" for kind in kinds for number in range(2)}
    assert torch.equal(arranged.tensor(moved[0]), source.tensor(moved[0])[halved(6, 12)])
    assert (arranged.dtype(moved[0]), arranged.tokenizer_path) == ("fp32", source.tokenizer_path)


def test_what_an_adapter_merges_is_in_the_same_order() -> None:
    """Rows of the base and of B, where rows have an order."""
    model = qwen3c_config()
    arrays = random_arrays(model, 0)
    q, v = (f"layers.0.attention.w{part}.weight" for part in "qv")

    class Adapted(MemorySource):
        has_adapter = True

        def merge(self, name: str) -> Merge | None:
            base = torch.from_numpy(arrays[name]) if name in (q, v) else None
            b = None if base is None else base[:, :2].double()
            return None if base is None or b is None else Merge(base, base[:2].double(), b, b, 2.0, 1.0)

    source = Adapted(hyperparameters(model), lambda name: arrays[name])
    arranged, order = in_file_order(source, "ajc1"), halved(6, 12)
    assert arranged.has_adapter
    assert arranged.merge("layers.0.attention.wk.weight") is None
    (right, found), (same, kept) = ((source.merge(name), arranged.merge(name)) for name in (q, v))
    assert right is not None
    assert found is not None
    assert torch.equal(found.base, right.base[order])
    assert torch.equal(found.b, right.b[order])
    assert torch.equal(found.raw_b, right.raw_b)
    assert kept is not None
    assert same is not None
    assert torch.equal(kept.base, same.base)
