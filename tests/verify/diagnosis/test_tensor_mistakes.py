"""Mistakes within a tensor: each entry can be said, and gives its own bits."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from helpers.mistake_files import comparison, hyperparameters, written
from helpers.mistake_tables import MODELS, healthy

from verify.diagnosis import mistakes
from verify.diagnosis.tensor_mistakes import TENSOR_MISTAKES


def test_every_entry_has_derivations_and_a_sentence() -> None:
    hyper = hyperparameters(MODELS["grouped"])
    sentences = [known.sentence(hyper) for known in TENSOR_MISTAKES]
    assert len(set(sentences)) == len(sentences)
    for known, sentence in zip(TENSOR_MISTAKES, sentences, strict=True):
        assert known.derivations
        assert "{" not in sentence
        assert known.unknown <= 1


def test_the_sentence_has_the_model_s_own_numbers() -> None:
    (known,) = (known for known in TENSOR_MISTAKES if known.mistake is mistakes.K_PERMUTED_WITH_N_HEADS)
    model = MODELS["grouped"]
    text = known.sentence(hyperparameters(model))
    assert text.endswith(f"n_heads = {model.n_heads} instead of n_kv_heads = {model.n_kv_heads}")


def test_rows_that_moved_up_or_down_are_told_apart(tmp_path: Path) -> None:
    model, name = MODELS["grouped"], "tok_embeddings.weight"
    right = healthy(0, model)
    for by, direction in ((1, "down"), (-1, "up")):
        wrong = {**right, name: np.roll(right[name], by, axis=0)}
        with comparison(written(tmp_path / "x.bin", model, wrong, "v0"), model, right) as compared:
            explaining = [known for known in TENSOR_MISTAKES if known.explains(compared, name)]
        assert [known.fields for known in explaining] == [(("direction", direction),)]
