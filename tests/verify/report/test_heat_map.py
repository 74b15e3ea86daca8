"""The heat map shows every operation of every layer, and fails a cell where the policy does."""

from __future__ import annotations

import math

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from verify.checks.operations import LayerReport
from verify.report.heat_map import STEPS, HeatMap, heat_maps, in_order


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
    (band,) = heat.bands
    assert band.columns == ["emb", "0", "1", "2", "out"]
    assert [[cell is not None for cell in row.cells] for row in band.rows] == [
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
    for count, room in ((14, "few"), (15, "many"), (80, "many")):
        assert mapped(*(LayerReport("fp32", n, "q", 0.0, 0.0, {}) for n in range(count))).room == room


@pytest.mark.parametrize(
    ("count", "widths"), [(30, [30]), (44, [44]), (45, [23, 22]), (80, [40, 40]), (126, [42] * 3)]
)
def test_many_layers_are_wrapped_into_bands_of_one_width_and_none_is_left_out(count: int, widths: list[int]) -> None:
    heat = mapped(*(LayerReport("fp32", n, name, 0.0, 0.1, {}) for n in range(count) for name in ("q", "k")))
    assert [len(band.columns) for band in heat.bands] == widths
    assert heat.width == widths[0]
    assert [column for band in heat.bands for column in band.columns] == [str(n) for n in range(count)]
    for band in heat.bands:
        assert [row.operation for row in band.rows] == ["q", "k"]
        assert all(len(row.cells) == len(band.columns) for row in band.rows)


@pytest.mark.parametrize("operation", ["q_rotated", "k_rotated", "down scale", "down int8", "attended"])
def test_an_operation_with_a_tight_bound_is_pale_up_to_it_and_fails_beyond_it(
    operation: str,
) -> None:
    near, beyond = (mapped(LayerReport("q8", 0, operation, 1.0, ratio, {})) for ratio in (0.99999, 1.00001))
    assert (near.active.step, near.active.failed) == (1, False)
    assert beyond.active.failed
    assert near.bands[0].rows[0].tight
    assert mapped(LayerReport("q8", 0, "down", 1.0, 0.99999, {})).active.step == len(STEPS)


@pytest.mark.parametrize(
    ("ratio", "limit", "text"),
    [(0.99999, 1.0, "<1"), (1.00001, 1.0, ">1"), (1.0, 1.0, "1.0"), (1.99, 2.0, "<2"), (0.99, 1.0, ".99")],
)
def test_a_cell_shows_on_which_side_of_the_limit_it_is(ratio: float, limit: float, text: str) -> None:
    (heat,) = heat_maps([LayerReport("fp32", 0, "q", 1.0, ratio, {})], limit)
    assert heat.active.text == text


def test_the_parts_of_an_int8_product_come_before_it() -> None:
    recorded = ["norm", "q", "down", "q scale", "q int8", "down int8", "q", "of nothing scale"]
    assert in_order(recorded) == ["norm", "q scale", "q int8", "q", "down int8", "down", "of nothing scale"]


def test_the_panel_shows_that_two_near_numbers_differ() -> None:
    where = {"expected": -2.01398765, "found": -2.01398767}
    data = mapped(LayerReport("fp32", 0, "q", 2e-8, 0.5, where)).active.data
    assert (data["expected"], data["found"]) == ("-2.0139876", "-2.0139877")
