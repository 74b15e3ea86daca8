"""Operations are gathered by layer, and the first one beyond its bound is described."""

from __future__ import annotations

import dataclasses
import math

import pytest
import torch
from hypothesis import example, given
from hypothesis import strategies as st

from verify.checks.operations import Operations, describe, name_of
from verify.operations.comparison import Comparison, same


def compared(operation: str, *errors: float, bound: float = 1.0, inputs: torch.Tensor | None = None) -> Comparison:
    """One window of as many positions as errors, and one element each."""
    out = torch.tensor(errors, dtype=torch.float64).view(1, -1, 1)
    tensor = "w" if inputs is not None else ""
    return Comparison(
        operation, out, torch.zeros_like(out), torch.full_like(out, bound), inputs=inputs, tensor=tensor
    )


def test_a_pass_is_told_in_its_order_with_the_largest_ratio_of_each_operation() -> None:
    found = Operations()
    for layer, operation, error in ((None, "embedding", 0.1), (1, "q", 0.2), (0, "q", 0.3), (0, "q", 0.25)):
        assert found.add("fp32", layer, [4], compared(operation, error)) == error
    found.add("fp32", None, [4], compared("logits", 0.0))
    assert [(one.layer, one.operation, one.max_error_over_bound) for one in found.layers] == [
        (None, "embedding", 0.1),
        (0, "q", 0.3),
        (1, "q", 0.2),
        (None, "logits", 0.0),
    ]
    verdict = found.verdict()
    assert (verdict.status, verdict.observed) == ("pass", 0.3)
    assert verdict.detail == "4 operations; nearest to its bound: layer 0 q"


@pytest.mark.parametrize(
    ("ratio", "words"), [(125.0, "125 times"), (1.0004, "1.0004 times"), (2.0, "2 times"), (1e9, "1e+09 times")]
)
def test_a_failure_says_how_many_times_its_bound_is_exceeded(ratio: float, words: str) -> None:
    found = Operations()
    found.add("q8", 3, [7], compared("down", 0.5, ratio))
    (report,) = found.failures
    assert name_of(report) == "layer 3 down, int8 activations"
    assert describe([report]) == (
        f"layer 3 down, int8 activations exceeds its error bound {words} at window 7, position 1, index [0]: "
        f"expected 0, found {ratio:.9g}"
    )


def test_a_wrong_weight_and_later_failures_are_told_in_singular_and_plural() -> None:
    found = Operations()
    found.add("fp32", 0, [0], compared("q", 2.0, 4.0, inputs=torch.tensor([[[1.0], [2.0]]])))
    detail = found.verdict().detail
    assert detail.endswith("; 1 row of w is wrong, as if weight [0, 0] were off by +2")
    found.add("fp32", 1, [0], compared("q", 3.0))
    assert found.verdict().detail.endswith("; 1 later operation is also wrong")
    found.add("fp32", 1, [0], compared("k", 3.0))
    assert found.verdict().detail.endswith("; 2 later operations are also wrong")


def test_an_answer_that_is_not_the_right_one_is_infinitely_wrong() -> None:
    found = Operations()
    found.add("fp32", 0, [0], same("wo", torch.ones(1, 1, 1), torch.zeros(1, 1, 1)))
    verdict = found.verdict(limit=1e9)
    assert (verdict.status, verdict.observed) == ("fail", math.inf)
    assert verdict.detail.startswith("layer 0 wo is not the one right answer at window 0")


def test_parts_merge_to_the_whole_and_nothing_is_skipped() -> None:
    assert Operations().verdict().status == "skipped"
    whole, one, other = Operations(), Operations(), Operations()
    for part, window, error in ((one, 0, 0.5), (other, 1, 0.7), (other, 2, 0.7)):
        for gathered in (whole, part):
            gathered.add("fp32", 0, [window], compared("q", error))
    one.merge(other.found)
    assert one.layers == whole.layers
    assert one.layers[0].where["window"] == 1


def test_an_error_as_large_as_its_bound_passes_and_the_next_number_does_not() -> None:
    found = Operations()
    found.add("fp32", 0, [0], compared("q", 3.0, bound=3.0))
    assert found.failures == []
    assert found.verdict().status == "pass"
    found.add("fp32", 0, [0], compared("k", math.nextafter(3.0, 4.0), bound=3.0))
    assert [one.operation for one in found.failures] == ["k"]
    assert found.verdict().status == "fail"
    assert found.beyond(1.5) == []
    assert found.verdict(limit=1.5).status == "pass"
    assert found.verdict(limit=1.5).limit == 1.5


Parts = list[tuple[str, str, int | None, float, float]]
PARTS = st.lists(
    st.tuples(
        st.sampled_from(["fp32", "q8"]),
        st.sampled_from(["q", "k", "logits"]),
        st.sampled_from([None, 0, 1]),
        st.sampled_from([0.0, 0.25, 1.0, 2.0, math.nan]),  # errors
        st.sampled_from([0.0, 0.5, 1.0, 4.0]),  # bounds
    ),
    min_size=1,
    max_size=12,
)


@given(PARTS, st.integers(0, 12), st.integers(0, 12))
@example([("fp32", "q", 0, 2.0, 4.0), ("fp32", "q", 0, 1.0, 1.0)], 1, 1)  # the larger error has the smaller ratio
@example([("fp32", "q", 0, 1.0, 1.0), ("fp32", "q", 0, 2.0, 4.0)], 1, 1)
@example([("fp32", "k", 0, 0.0, 1.0), ("fp32", "q", 0, 0.0, 1.0)], 1, 1)
def test_any_split_into_parts_merges_to_the_whole(parts: Parts, first: int, second: int) -> None:
    def gathered(some: Parts, window: int) -> Operations:
        found = Operations()
        for number, (activations, operation, layer, error, bound) in enumerate(some):
            found.add(activations, layer, [window + number], compared(operation, error, bound=bound))
        return found

    cuts = sorted((min(first, len(parts)), min(second, len(parts))))
    merged = Operations()
    for start, end in zip((0, *cuts), (*cuts, len(parts)), strict=True):
        merged.merge(gathered(parts[start:end], start).found)
    # a NaN is not equal to itself
    assert repr(merged.layers) == repr(gathered(parts, 0).layers)
    assert merged.verdict() == gathered(parts, 0).verdict() or "nan" in repr(merged.verdict())
    for report in merged.layers:
        key = (report.activations, report.operation, report.layer)
        errors = [error for *kind, error, _ in parts if tuple(kind) == key]
        assert report.max_error == max(math.inf if math.isnan(error) else error for error in errors)


def test_the_first_of_equal_ratios_is_kept_with_its_place() -> None:
    found = Operations()
    for window, column in ((5, 1), (6, 0)):
        out = torch.zeros(1, 2, 3, dtype=torch.float64)
        out[0, column, 2] = 0.5
        whole = Comparison(
            "logits", out, torch.zeros_like(out), torch.ones_like(out), first=7, tensor="output.weight"
        )
        found.add("fp32", None, [window], whole)
    (report,) = found.layers
    assert report.where == {
        "window": 5,
        "position": 1,
        "index": [9],
        "expected": 0.0,
        "found": 0.5,
        "tensor": "output.weight",
    }
    assert found.verdict().where == {
        "arithmetic": "mirror",
        "activations": "fp32",
        "layer": None,
        "operation": "logits",
        **report.where,
    }


def test_a_wrong_weight_is_named_only_where_it_explains_the_error() -> None:
    """The row is of the whole matrix, and a weight that explains little is not named."""
    inputs = torch.tensor([[[1.0], [-1.0]]])
    for first, errors, named in ((0, (2.0, -2.0), True), (0, (2.0, 2.0), False), (8, (3.0, -3.0), True)):
        found = Operations()
        judged = dataclasses.replace(compared("q", *errors, inputs=inputs), first=first)
        found.add("fp32", 0, [0], judged)
        where = found.failures[0].where
        assert (where["row"], where["rows"]) == (first, 1)
        weight = f", as if weight [{first}, 0] were off by {errors[0]:+.3g}"
        assert (weight in found.verdict().detail) == named
    # within the bound, nothing is looked for
    found.add("fp32", 0, [0], compared("k", 1.0, 1.0, inputs=inputs))
    assert "row" not in found.layers[1].where


def test_embedding_comes_first_and_the_last_norm_after_the_layers() -> None:
    found = Operations()
    for layer, operation in ((1, "q"), (0, "q"), (0, "k"), (None, "final_norm"), (None, "embedding")):
        found.add("fp32", layer, [0], compared(operation, 0.0))
    found.add("q8", 0, [0], compared("q", 0.0))
    assert [(one.activations, one.layer, one.operation) for one in found.layers] == [
        ("fp32", None, "embedding"),
        ("fp32", 0, "q"),
        ("fp32", 0, "k"),
        ("fp32", 1, "q"),
        ("fp32", None, "final_norm"),
        ("q8", 0, "q"),
    ]
    assert [name_of(one) for one in found.layers[:2]] == ["embedding", "layer 0 q"]


def test_an_error_is_what_was_found_minus_what_was_expected() -> None:
    inputs = torch.tensor([[[1.0, 0.0], [2.0, 0.0]]])
    exact = torch.tensor([[[100.0], [-50.0]]], dtype=torch.float64)
    error = torch.tensor([[[-0.25], [-0.5]]], dtype=torch.float64)
    bound = torch.full_like(exact, 0.125)
    found = Operations()
    found.add("fp32", 0, [0], Comparison("q", exact + error, exact, bound, inputs=inputs, tensor="w"))
    (report,) = found.failures
    assert (report.max_error, report.max_error_over_bound) == (0.5, 4.0)
    assert (report.where["expected"], report.where["found"]) == (-50.0, -50.5)
    assert (report.where["column"], report.where["delta"], report.where["explained"]) == (0, -0.25, 1.0)
    assert describe([report]).endswith(
        "expected -50, found -50.5; 1 row of w is wrong, as if weight [0, 0] were off by -0.25"
    )
    # named only above a share of nine tenths, and rows in the plural
    for explained, rows, words in ((0.9, 2, "; 2 rows of w are wrong"), (0.91, 1, " off by -0.25")):
        where = report.where | {"explained": explained, "rows": rows}
        assert describe([dataclasses.replace(report, where=where)]).endswith(words)


def test_a_score_s_place_has_its_head_and_the_position_that_it_looks_at() -> None:
    out = torch.zeros(2, 3, 4, 5, dtype=torch.float64)
    out[1, 2, 3, 4] = 2.0
    found = Operations()
    found.add("fp32", 0, [7, 9], Comparison("scores", out, torch.zeros_like(out), torch.ones_like(out)))
    where = found.failures[0].where
    assert (where["window"], where["position"], where["index"]) == (9, 2, [3, 4])


def test_the_first_failure_is_told_with_its_row_among_others() -> None:
    inputs = torch.tensor([[[1.0, 0.0, 3.0], [0.0, 1.0, -1.0]]])
    error = torch.zeros(1, 2, 4, dtype=torch.float64)
    error[0, :, 2] = 0.5 * inputs[0, :, 1].double()  # row 2, column 1
    exact, bound = torch.ones_like(error), torch.full_like(error, 0.5 / 12.345)
    found = Operations()
    found.add("fp32", 0, [0], Comparison("q", exact + error, exact, bound, first=10, inputs=inputs, tensor="w"))
    found.add("fp32", 1, [0], compared("k", 100.0))
    verdict = found.verdict()
    assert verdict.detail == (
        "layer 0 q exceeds its error bound at window 0, position 1, index [12]: expected 1, found 1.5; "
        "1 row of w is wrong, as if weight [12, 1] were off by +0.5; 1 later operation is also wrong; "
        "the worst, layer 1 k, exceeds its bound 100 times"
    )
    assert (verdict.where["layer"], verdict.where["operation"], verdict.observed) == (0, "q", 100.0)


def test_mirror_comes_before_fast_whichever_was_found_first() -> None:
    found = Operations("fast")
    found.add("fp32", 0, [0], compared("q", 0.5))
    mirror = Operations("mirror")
    mirror.add("q8", 0, [0], compared("q", 0.25))
    found.merge(mirror.found)
    assert [(one.arithmetic, one.activations) for one in found.layers] == [("mirror", "q8"), ("fast", "fp32")]
