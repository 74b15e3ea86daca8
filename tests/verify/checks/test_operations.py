"""Operations are gathered by layer, and the first one beyond its bound is described."""

from __future__ import annotations

import math

import pytest
import torch

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
    assert describe(report, 1) == (
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
