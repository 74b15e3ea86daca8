"""Shards that were joined in another order are named, whichever way each matrix is cut."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from helpers.mistake_files import diagnosed, written
from helpers.models import Arrays, arrays, config

from verify.diagnosis.result import Diagnosis

MODEL = config(dim=64, hidden_dim=96, n_layers=2, n_heads=8, n_kv_heads=4, vocab_size=96)
RIGHT = arrays(MODEL)
OF_COLUMNS = ("wo", "w2", "tok_embeddings")


def joined(order: Sequence[int], *kinds: str) -> Arrays:
    """All matrices, or those with one of kinds in their names, of as many shards in another order."""
    mine = dict(RIGHT)
    for name, array in RIGHT.items():
        if array.ndim == 2 and (not kinds or any(kind in name for kind in kinds)):
            axis = 1 if any(kind in name for kind in OF_COLUMNS) else 0
            shards = np.split(array, len(order), axis)
            mine[name] = np.ascontiguousarray(np.concatenate([shards[place] for place in order], axis))
    return mine


def of(directory: Path, mine: Arrays, kind: str) -> Diagnosis:
    found = diagnosed(written(directory / "x.bin", MODEL, mine, kind), MODEL, RIGHT)
    assert found is not None
    return found


@pytest.mark.parametrize(
    ("order", "kind"), [([1, 0], "v0"), ([1, 0], "v2"), ([3, 0, 1, 2], "v3-bf16"), ([0, 2, 1, 3, 4, 5, 7, 6], "v2")]
)
def test_shards_in_another_order_are_named(tmp_path: Path, order: Sequence[int], kind: str) -> None:
    found = of(tmp_path, joined(order), kind)
    assert (found.signature, found.explained) == ("blocks-reordered", 1)
    assert f"{len(order)} equal blocks of rows, or of columns in " in found.sentence
    assert f", in the order {', '.join(map(str, order))}, as if shards" in found.sentence


def test_one_shard_in_the_place_of_both_is_named(tmp_path: Path) -> None:
    found = of(tmp_path, joined([0, 0]), "v0")
    assert (found.signature, "in the order 0, 0" in found.sentence) == ("blocks-reordered", True)


@pytest.mark.parametrize(("kind", "what"), [("w1", "rows"), ("w2", "columns")])
def test_shards_of_one_matrix_are_named(tmp_path: Path, kind: str, what: str) -> None:
    found = of(tmp_path, joined([2, 1, 0], kind), "v2")
    assert found.sentence.endswith(
        f"3 equal blocks of {what} in the order 2, 1, 0, as if shards were joined in another order"
    )


def test_heads_of_one_matrix_keep_their_name(tmp_path: Path) -> None:
    assert of(tmp_path, joined([1, 0], "wq"), "v0").signature == "heads-reordered"


@pytest.mark.parametrize("row", [1, 50])
def test_one_other_row_in_a_block_is_no_order_of_blocks(tmp_path: Path, row: int) -> None:
    mine = joined([1, 0], "w1")
    name = "layers.0.feed_forward.w1.weight"
    mine[name][row] = mine[name][row][::-1]
    assert "layers.0.feed_forward.w1.weight" not in of(tmp_path, mine, "v0").tensors


def test_blocks_of_unequal_size_are_rows_in_another_order(tmp_path: Path) -> None:
    name = "layers.0.feed_forward.w1.weight"
    mine = {**RIGHT, name: np.concatenate([RIGHT[name][41:], RIGHT[name][:41]])}
    assert of(tmp_path, mine, "v0").signature == "rows-reordered"
