"""The heat map shows every operation of every layer, and fails a cell where the policy does."""

from __future__ import annotations

import math

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from verify.checks.operations import LayerReport
from verify.report.heat_map import STEPS, HeatMap, heat_maps


@example(1.0, 1.0)
@example(1.001, 1.0)
@example(1.5, 2.0)
@given(st.floats(min_value=0), st.floats(min_value=0, max_value=1e9))
def test_a_cell_is_failed_where_and_only_where_it_is_beyond_the_policy_s_limit(ratio: float, limit: float) -> None:
    layer = LayerReport("fp32", 3, "down", 1.0, ratio, {})
    (heat,) = heat_maps([layer], limit)
    assert heat.active.failed == (ratio > limit)
    assert heat.active.step == 0 if ratio == 0 else ratio <= (*STEPS, math.inf)[heat.active.step - 1]


def mapped(*layers: LayerReport) -> HeatMap:
    (heat,) = heat_maps(layers, 1.0)
    return heat


def test_columns_are_layers_between_the_embedding_and_the_output() -> None:
    heat = mapped(
        LayerReport("fp32", None, "embedding", 0.0, 0.0, {}),
        *(LayerReport("fp32", layer, "q", 0.0, 0.1 * layer, {}) for layer in (0, 1, 2)),
        LayerReport("fp32", None, "logits", 0.0, 0.05, {}),
    )
    assert heat.columns == ["emb", "0", "1", "2", "out"]
    assert [[cell is not None for cell in row.cells] for row in heat.rows] == [
        [True, False, False, False, False],
        [False, True, True, True, False],
        [False, False, False, False, True],
    ]
    # nothing failed, so it starts at the cell nearest to its bound
    assert heat.active.data["name"] == "layer 2 q"
    assert heat.failures == 0


@pytest.mark.parametrize(
    ("ratio", "text"),
    [
        (0.0, "0"),
        (0.004, "<.01"),
        (0.25, ".25"),
        (1.5, "1.5"),
        (125.0, "1e2"),
        (1.7e308, "2e308"),
        (math.inf, "∞"),
        (math.nan, "nan"),
    ],
)
def test_a_cell_has_two_digits(ratio: float, text: str) -> None:
    assert mapped(LayerReport("fp32", 0, "q", 1.0, ratio, {})).active.text == text


def test_the_panel_says_where_and_which_weight_would_explain_it() -> None:
    where = {"window": 1, "position": 2, "index": [3], "expected": 0.5, "found": 0.25, "tensor": "w"}
    weight = {"row": 3, "column": 4, "delta": 0.125, "explained": 0.99999, "rows": 1}
    data = mapped(LayerReport("q8", 0, "q", 0.25, 125.0, where | weight)).active.data
    assert data["ratio"] == "125, beyond the limit of 1"
    assert data["at"] == "window 1, position 2, index [3]"
    assert data["weight"] == "[3, 4] off by 0.125 would explain 99.999% of its row's squared error; wrong rows: 1"


def test_numbers_and_the_panel_have_room_in_few_columns() -> None:
    for count, room in ((14, "few"), (15, "some"), (36, "some"), (37, "many")):
        assert mapped(*(LayerReport("fp32", n, "q", 0.0, 0.0, {}) for n in range(count))).room == room
