"""Values of another tensor are recognised, with the pattern that the swapped tensors share."""

from __future__ import annotations

from pathlib import Path

import pytest
from helpers import mistake_seeds as m
from helpers.mistake_files import comparison, written
from helpers.mistake_tables import ELEVEN, MODELS, W1, W3, healthy

from verify.diagnosis.result import Diagnosis
from verify.diagnosis.swapped_tensors import diagnose_swapped

MODEL = MODELS[ELEVEN]


def diagnosed(tmp_path: Path, seed: m.InArrays, kind: str = "v2") -> Diagnosis | None:
    right = healthy(0, MODEL)
    wrong = dict(right)
    seed(wrong, MODEL)
    names = [name for name in right if right[name].tobytes() != wrong[name].tobytes()]
    with comparison(written(tmp_path / "x.bin", MODEL, wrong, kind), MODEL, right) as compared:
        return diagnose_swapped(compared, names)


@pytest.mark.parametrize(
    ("seed", "name", "text"),
    [
        (m.swapped(W1, W3), "tensors-swapped", "hold each other's values"),
        (
            m.layers(lambda n: [1, 0, *range(2, n)]),
            "layers-swapped",
            "layers 0 and 1 are swapped",
        ),
        (m.layers(lambda n: sorted(range(n), key=str)), "layers-in-order-of-text", "sorted as text: 1, 10, 11, 2"),
        (m.layers(lambda n: [*range(1, n), 0]), "layers-shifted", "hold the values of the layer after"),
        (m.layers(lambda n: [n - 1, *range(n - 1)]), "layers-shifted", "hold the values of the layer before"),
        (m.layers(lambda n: [*range(n)][::-1]), "layers-reversed", "hold the values of the layers in reverse order"),
        (
            m.layers(lambda n: [2, 0, 1, *range(3, n)]),
            "layers-in-another-order",
            "layer 0, for example, holds those of layer 2",
        ),
        (
            m.instead("output.weight", "tok_embeddings.weight"),
            "classifier-is-embedding",
            "output.weight holds the embedding's values, as if the classifier were tied to the embedding",
        ),
    ],
)
def test_the_shared_pattern_is_named(tmp_path: Path, seed: m.InArrays, name: str, text: str) -> None:
    found = diagnosed(tmp_path, seed)
    assert found is not None
    assert (found.signature, found.explained) == (name, 1.0)
    assert text in found.sentence


def test_values_of_no_other_tensor_have_no_origin(tmp_path: Path) -> None:
    assert diagnosed(tmp_path, m.each(f"3.{W1}", lambda w, _: w * 2)) is None
