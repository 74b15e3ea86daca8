"""Rows of fused matrices, counted by hand."""

from __future__ import annotations

from pathlib import Path

import pytest

from verify.errors import CannotJudgeError
from verify.sources.huggingface_fused import part_rows

LAYER = "layers.3"
QKV = {f"{LAYER}.attention.w{part}.weight": "qkv" for part in "qkv"}
GATES = {f"{LAYER}.feed_forward.w{part}.weight": "gate_up" for part in "13"}
OTHERS = {f"{LAYER}.attention.wo.weight": "o", f"{LAYER}.feed_forward.w2.weight": "down", "norm.weight": "norm"}
SHAPES: dict[str, tuple[int, ...]] = {"qkv": (12, 5), "gate_up": (14, 5), "o": (5, 8), "down": (5, 7), "norm": (5,)}


def rows(**shapes: tuple[int, ...]) -> dict[str, slice]:
    return part_rows(Path("model"), {**OTHERS, **QKV, **GATES}, SHAPES | shapes)


def test_the_parts_of_a_fused_matrix_stand_one_below_the_other() -> None:
    assert rows() == {
        f"{LAYER}.attention.wq.weight": slice(0, 8),
        f"{LAYER}.attention.wk.weight": slice(8, 10),
        f"{LAYER}.attention.wv.weight": slice(10, 12),
        f"{LAYER}.feed_forward.w1.weight": slice(0, 7),
        f"{LAYER}.feed_forward.w3.weight": slice(7, 14),
    }
    least = rows(qkv=(10, 5), gate_up=(2, 5))
    assert least[f"{LAYER}.attention.wv.weight"] == slice(9, 10)
    assert least[f"{LAYER}.feed_forward.w3.weight"] == slice(1, 2)


def test_without_the_output_matrix_no_rows_are_queries() -> None:
    """The tensors are refused later, where a name is missing."""
    for of_wo in ((8,), (5, 8, 1)):
        assert rows(o=of_wo)[f"{LAYER}.attention.wq.weight"] == slice(0, 0)
    found = part_rows(Path("model"), QKV, SHAPES)
    assert found[f"{LAYER}.attention.wk.weight"] == slice(0, 6)


@pytest.mark.parametrize(
    ("stored", "total"), [("qkv", 13), ("qkv", 8), ("qkv", 7), ("qkv", 6), ("gate_up", 13), ("gate_up", 0)]
)
def test_rows_that_make_no_parts_are_refused(stored: str, total: int) -> None:
    with pytest.raises(CannotJudgeError) as caught:
        rows(**{stored: (total, 5)})
    assert str(caught.value) == f"model: {stored}: expected rows of the parts of a fused matrix, found {total}"
