"""Another tensor's values are found even where they were changed, too."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from helpers.mistake_files import diagnosed, written
from helpers.models import Arrays, arrays, config

from verify.diagnosis.result import Diagnosis

MODEL = config()
RIGHT = arrays(MODEL)
EMBEDDING, CLASSIFIER = RIGHT["tok_embeddings.weight"], "output.weight"


def of(directory: Path, wrong: Arrays, kind: str = "v0") -> Diagnosis:
    mine = {**RIGHT, **{name: np.ascontiguousarray(array, np.float32) for name, array in wrong.items()}}
    found = diagnosed(written(directory / "x.bin", MODEL, mine, kind), MODEL, RIGHT)
    assert found is not None
    return found


@pytest.mark.parametrize("kind", ["v0", "v2", "v3-bf16"])
@pytest.mark.parametrize(
    ("values", "text"),
    [
        (EMBEDDING * np.float32(3), ": that tensor's values multiplied by 3"),
        (EMBEDDING * RIGHT["norm.weight"], ": that tensor's columns multiplied by the weights of norm"),
    ],
)
def test_a_changed_embedding_as_the_classifier_is_named(
    tmp_path: Path, values: np.ndarray, text: str, kind: str
) -> None:
    found = of(tmp_path, {CLASSIFIER: values}, kind)
    assert (found.signature, found.explained) == ("changed-values-of-another-tensor", 1)
    assert f"output.weight holds another tensor's values, those of tok_embeddings.weight{text}" in found.sentence


def test_the_transpose_of_another_tensor_is_named(tmp_path: Path) -> None:
    names = [f"layers.{layer}.feed_forward.w{n}.weight" for layer in (0, 1) for n in (1, 2)]
    wrong = {names[0]: RIGHT[names[1]].T, names[2]: RIGHT[names[3]].T}
    found = of(tmp_path, wrong)
    assert (found.tensors, found.explained) == ((names[0], names[2]), 1)
    assert found.sentence.endswith("those of the transpose of feed_forward.w2.weight")
    both = of(tmp_path, wrong | {names[1]: RIGHT[names[0]].T, names[3]: RIGHT[names[2]].T})
    assert both.explained == 1
    assert both.sentence.endswith("those of the transpose of one another")


def test_values_that_only_resemble_another_tensors_have_no_name(tmp_path: Path) -> None:
    noise = np.random.default_rng(7).normal(size=EMBEDDING.shape) * EMBEDDING.std() / 10
    assert of(tmp_path, {CLASSIFIER: EMBEDDING + noise}).explained == 0


def test_a_plain_exchange_keeps_its_name(tmp_path: Path) -> None:
    assert of(tmp_path, {CLASSIFIER: EMBEDDING}).signature == "classifier-is-embedding"
