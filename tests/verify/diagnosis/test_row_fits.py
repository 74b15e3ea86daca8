"""Orders, signs and int8 that are read off a tensor's rows."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from helpers import mistake_seeds as m
from helpers.mistake_files import diagnosed, written
from helpers.mistake_tables import MODELS, healthy

from verify.diagnosis.result import Diagnosis
from verify.diagnosis.row_fits import indices

MODEL = MODELS["grouped"]
RIGHT = healthy(0, MODEL)
Q, W2 = "layers.1.attention.wq.weight", "layers.1.feed_forward.w2.weight"
KINDS = ["v0", "v3-bf16", "v2"]


def of(directory: Path, name: str, wrong: np.ndarray, kind: str) -> Diagnosis:
    path = written(directory / "x.bin", MODEL, {**RIGHT, name: np.ascontiguousarray(wrong)}, kind)
    found = diagnosed(path, MODEL, RIGHT)
    assert found is not None
    return found


@pytest.mark.parametrize("kind", KINDS)
def test_any_order_of_heads_is_named(tmp_path: Path, kind: str) -> None:
    heads = RIGHT[Q].reshape(MODEL.n_heads, -1, MODEL.dim)
    found = of(tmp_path, Q, heads[[2, 0, 5, 1, 4, 3]].reshape(RIGHT[Q].shape), kind)
    assert (found.signature, found.explained) == ("heads-reordered", 1)
    assert found.sentence == f"{Q} holds the source's rows with the heads in the order 2, 0, 5, 1, 4, 3"


def test_a_head_that_stands_twice_is_named(tmp_path: Path) -> None:
    heads = RIGHT[Q].reshape(MODEL.n_heads, -1, MODEL.dim)
    found = of(tmp_path, Q, heads[[0, 0, 2, 2, 4, 4]].reshape(RIGHT[Q].shape), "v0")
    assert found.sentence.endswith("with the heads in the order 0, 0, 2, 2, 4, 4")


@pytest.mark.parametrize("kind", KINDS)
def test_any_order_of_rows_is_recognised_and_never_called_unrelated(tmp_path: Path, kind: str) -> None:
    order = np.random.default_rng(2).permutation(len(RIGHT[W2]))
    found = of(tmp_path, W2, RIGHT[W2][order], kind)
    row = int(np.flatnonzero(order != np.arange(len(order)))[0])
    assert found.signature == "rows-reordered"
    assert found.sentence.endswith(f"rows in another order: row {row}, for example, holds its row {order[row]}")


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("rows", "text"),
    [
        (slice(1, None, 2), "odd rows"),
        (slice(0, None, 2), "even rows"),
        (slice(3, 6), "rows 3-5"),
        (slice(7, 8), "row 7"),
    ],
)
def test_rows_with_the_opposite_sign_are_named(tmp_path: Path, rows: slice, text: str, kind: str) -> None:
    wrong = RIGHT[Q].copy()
    wrong[rows] *= -1
    found = of(tmp_path, Q, wrong, kind)
    assert (found.signature, found.explained) == ("rows-negated", 1)
    assert found.sentence == f"{Q} holds the source's values with the opposite sign in {text}"


def test_columns_with_the_opposite_sign_are_named(tmp_path: Path) -> None:
    wrong = RIGHT[Q].copy()
    wrong[:, 1::2] *= -1
    assert of(tmp_path, Q, wrong, "v2").sentence.endswith("with the opposite sign in odd columns")


def test_scales_of_wider_groups_are_named(tmp_path: Path) -> None:
    model = MODELS["square"]
    right = healthy(0, model)
    path = written(tmp_path / "x.bin", model, right, "v2")
    wider = m.with_peaks(lambda w: np.repeat(np.abs(w.reshape(len(w), -1, 16)).max(axis=2), 2, axis=1))
    m.patch_parts(path, [Q, W2], right, wider)
    found = diagnosed(path, model, right)
    assert found is not None
    assert (found.signature, found.explained) == ("groups-of-another-size", 1)
    assert found.sentence.endswith("hold scales of groups of 16 instead of 8, each written 2 times")


def test_rows_are_listed_as_people_say_it() -> None:
    assert indices("rows", [1, 3, 5], 6) == "odd rows"
    assert indices("columns", [0, 2, 4], 6) == "even columns"
    assert indices("rows", [3], 6) == "row 3"
    assert indices("rows", [0, 1, 2, 5], 9) == "rows 0-2 and 5"
    assert indices("rows", [0, 2, 5, 9, 14, 17, 19], 30) == "7 of 30 rows, the first of them row 0"
    assert indices("rows", [2, 3, 6, 7], 8, head_dim=4) == "the second half of each head's rows"
    assert indices("rows", [0, 1, 4, 5], 8, head_dim=4) == "the first half of each head's rows"


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("inserted", "what"), [(True, "down, so that row 3 is another"), (False, "up, so that row 3")]
)
def test_rows_after_an_inserted_or_omitted_one_are_named(
    tmp_path: Path, kind: str, inserted: bool, what: str
) -> None:
    right, other = RIGHT[W2], np.full_like(RIGHT[W2][:1], 0.25)
    rows = [right[:3], other, right[3:-1]] if inserted else [right[:3], right[4:], other]
    found = of(tmp_path, W2, np.concatenate(rows), kind)
    assert (found.signature, f"from row 3 on one place too far {what}" in found.sentence) == ("rows-displaced", True)


def test_rows_after_several_inserted_or_omitted_ones_are_named(tmp_path: Path) -> None:
    right, others = RIGHT[W2], np.full_like(RIGHT[W2][:2], 0.25)
    found = of(tmp_path, W2, np.concatenate([right[:3], others, right[3:-2]]), "v0")
    assert found.sentence.endswith("from row 3 on 2 places too far down, so that rows 3-4 are others")
    found = of(tmp_path, W2, np.concatenate([right[3:], others, others[:1]]), "v2")
    assert found.sentence.endswith("from row 0 on 3 places too far up, so that rows 0-2 are missing")


def test_rows_that_are_displaced_by_two_distances_have_no_name(tmp_path: Path) -> None:
    right, others = RIGHT[W2], np.full_like(RIGHT[W2][:2], 0.25)
    rows = np.concatenate([right[:3], others, right[3:20], others, right[20:-4]])
    assert of(tmp_path, W2, rows, "v0").signature != "rows-displaced"


@pytest.mark.parametrize("kind", KINDS)
def test_any_order_of_columns_is_recognised_in_any_storage(tmp_path: Path, kind: str) -> None:
    order = np.random.default_rng(2).permutation(RIGHT[W2].shape[1])
    found = of(tmp_path, W2, RIGHT[W2][:, order], kind)
    assert (found.signature, "columns in another order" in found.sentence) == ("rows-reordered", True)
