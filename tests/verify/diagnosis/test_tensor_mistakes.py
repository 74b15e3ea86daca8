"""Mistakes within a tensor: each entry can be said, and gives its own bits."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from helpers.mistake_files import comparison, diagnosed, written
from helpers.mistake_tables import MODELS, healthy

from verify.diagnosis import mistakes
from verify.diagnosis.bit_comparison import BitComparison
from verify.diagnosis.tensor_mistakes import TENSOR_MISTAKES


@pytest.fixture(scope="module")
def compared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[BitComparison]:
    model, right = MODELS["grouped"], healthy(0, MODELS["grouped"])
    with comparison(written(tmp_path_factory.mktemp("healthy") / "x.bin", model, right, "v0"), model, right) as made:
        yield made


def test_every_entry_has_derivations_and_a_sentence(compared: BitComparison) -> None:
    sentences = [known.sentence(compared, ["norm.weight"]) for known in TENSOR_MISTAKES]
    assert len(set(sentences)) == len(sentences)
    for known, sentence in zip(TENSOR_MISTAKES, sentences, strict=True):
        assert known.derivations
        assert "{" not in sentence
        assert known.unknown <= 1


def test_the_sentence_has_the_model_s_own_numbers(compared: BitComparison) -> None:
    (known,) = (known for known in TENSOR_MISTAKES if known.mistake is mistakes.K_PERMUTED_WITH_N_HEADS)
    model = MODELS["grouped"]
    text = known.sentence(compared, ["norm.weight"])
    assert text.endswith(f"n_heads = {model.n_heads} instead of n_kv_heads = {model.n_kv_heads}")


def test_a_second_rounding_by_the_storage_is_named(tmp_path: Path) -> None:
    model, right = MODELS["grouped"], healthy(0, MODELS["grouped"])
    norm, matrix = "norm.weight", "tok_embeddings.weight"

    def sentence(kind: str, *names: str) -> str:
        wrong = right | {name: right[name].astype(np.float16).astype(np.float32) for name in names}
        found = diagnosed(written(tmp_path / "x.bin", model, wrong, kind), model, right)
        assert found is not None
        assert (found.signature, found.explained) == ("rounded-to-fp16", 1)
        return found.sentence.rpartition("the source's values ")[2]

    assert sentence("v0", norm, matrix) == "rounded to fp16"
    assert sentence("v3-bf16", matrix) == "rounded to fp16, then to bf16"
    assert sentence("v3-bf16", norm, matrix) == "rounded to fp16, those stored in bf16 then to bf16"


def test_rows_that_moved_up_or_down_are_told_apart(tmp_path: Path) -> None:
    model, name = MODELS["grouped"], "tok_embeddings.weight"
    right = healthy(0, model)
    for by, direction in ((1, "down"), (-1, "up")):
        wrong = {**right, name: np.roll(right[name], by, axis=0)}
        with comparison(written(tmp_path / "x.bin", model, wrong, "v0"), model, right) as moved:
            explaining = [known for known in TENSOR_MISTAKES if known.explains(moved, name)]
        assert [known.fields for known in explaining] == [(("direction", direction),)]
