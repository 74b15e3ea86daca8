"""A diagnosis says which tensors it is about, and what it leaves unexplained."""

from __future__ import annotations

import pytest

from verify.diagnosis.result import diagnosis_of_tensors, layer_and_kind, subject

W1, W2 = "feed_forward.w1.weight", "feed_forward.w2.weight"


@pytest.mark.parametrize(
    ("names", "text"),
    [
        (["norm.weight"], "norm.weight"),
        ([f"layers.3.{W1}"], f"layers.3.{W1}"),
        ([f"layers.{n}.{W1}" for n in range(4)], f"layers.*.{W1} (4 tensors)"),
        ([f"layers.0.{W1}", f"layers.1.{W2}"], f"layers.0.{W1} and layers.1.{W2}"),
        (["a", "b", "c", f"layers.0.{W1}", f"layers.1.{W1}"], "a and 3 other kinds of tensors (5 in all)"),
    ],
)
def test_tensors_are_named_by_kind(names: list[str], text: str) -> None:
    assert subject(names) == text


def test_layer_and_kind_are_the_parts_of_a_name() -> None:
    assert layer_and_kind(f"layers.12.{W1}") == (12, W1)
    assert layer_and_kind("norm.weight") == (None, "norm.weight")


def test_the_sentence_agrees_in_number_and_counts_the_rest() -> None:
    one = diagnosis_of_tensors("zeros", "only zeros", ["a"], ["a"], 1)
    assert (one.sentence, one.explained) == ("a holds only zeros", 1.0)
    some = diagnosis_of_tensors("zeros", "only zeros", ["a", "b"], ["a", "b"], 5)
    assert some.sentence == "a and b hold only zeros; this leaves 3 of 5 differing tensors unexplained"
    assert (some.signature, some.tensors, some.explained) == ("zeros", ("a", "b"), 0.4)
    none = diagnosis_of_tensors("no-known-mistake", "numbers", ["a"], [], 5)
    assert (none.sentence, none.explained) == ("a holds numbers", 0.0)
