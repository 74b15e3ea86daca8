"""A diagnosis says which tensors it is about, and what it leaves unexplained."""

from __future__ import annotations

import pytest

from verify.diagnosis.result import diagnosis_of_tensors, layer_and_kind, listed, ranges, subject

W1, W2 = "feed_forward.w1.weight", "feed_forward.w2.weight"

NORMS = [f"layers.{layer}.{kind}_norm.weight" for layer in (0, 1) for kind in ("attention", "ffn")]
MATRICES = [
    *(f"layers.2.attention.w{letter}.weight" for letter in "qkvo"),
    *(f"layers.2.feed_forward.w{digit}.weight" for digit in "123"),
]


@pytest.mark.parametrize(
    ("names", "text"),
    [
        (["norm.weight"], "norm.weight"),
        ([f"layers.3.{W1}"], f"layers.3.{W1}"),
        ([f"layers.{n}.{W1}" for n in range(4)], f"{W1} of layers 0-3"),
        ([f"layers.{n}.{kind}" for n in (0, 1, 4) for kind in (W1, W2)], f"{W1} and {W2} of layers 0-1 and 4"),
        ([f"layers.0.{W1}", f"layers.1.{W2}"], f"layers.0.{W1} and layers.1.{W2}"),
        (["a", "b", "c", f"layers.0.{W1}", f"layers.1.{W1}"], f"{W1} of layers 0-1, a, b and c"),
        ([*NORMS, "norm.weight"], "all norms of layers 0-1 and norm.weight"),
        (MATRICES, "all matrices of layer 2"),
        ([*MATRICES, "layers.2.attention.wq.bias"], "all matrices and attention.wq.bias of layer 2"),
    ],
)
def test_tensors_are_named_by_kind(names: list[str], text: str) -> None:
    assert subject(names) == text


def test_layer_and_kind_are_the_parts_of_a_name() -> None:
    assert layer_and_kind(f"layers.12.{W1}") == (12, W1)
    assert layer_and_kind("norm.weight") == (None, "norm.weight")


def test_numbers_and_names_are_written_as_lists() -> None:
    assert ranges([0, 1, 2, 5, 7, 8]) == "0-2, 5 and 7-8"
    assert (listed(["a"]), listed(["a", "b"]), listed(["a", "b", "c"])) == ("a", "a and b", "a, b and c")


def test_the_sentence_agrees_in_number_and_counts_the_rest() -> None:
    one = diagnosis_of_tensors("zeros", "only zeros", ["a"], ["a"], 1)
    assert (one.sentence, one.explained) == ("a holds only zeros", 1.0)
    some = diagnosis_of_tensors("zeros", "only zeros", ["a", "b"], ["a", "b"], 5)
    assert some.sentence == "a and b hold only zeros; this leaves 3 of 5 differing tensors unexplained"
    assert (some.signature, some.tensors, some.explained) == ("zeros", ("a", "b"), 0.4)
    none = diagnosis_of_tensors("no-known-mistake", "numbers", ["a"], [], 5)
    assert (none.sentence, none.explained) == ("a holds numbers", 0.0)
