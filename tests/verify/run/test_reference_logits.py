"""The references of a file share the weights that transformers' model holds anyway, with the values that they had."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from helpers import huggingface

import exporter
import reader_c
from verify.oracle.expected import numbers, quantized
from verify.run import reference_logits
from verify.run.memory import AT_EASE, Plan
from verify.run.reference_logits import References
from verify.sources import open_source

TOKENS = torch.arange(12).view(2, 6)


def references(directory: Path, memory: Plan = AT_EASE) -> References:
    source = huggingface.save(directory / "model", huggingface.model(tie_word_embeddings=True))
    file = directory / "model.bin"
    exporter.export(exporter.open_checkpoint(source), file, format="v3", storage="q8_0", group_size=8)
    return References(open_source(source), reader_c.open(file), memory)


def test_a_weight_of_the_file_is_derived_once_for_both_references(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = references(tmp_path)
    derived: list[tuple[int, ...]] = []

    def counted(tensor: torch.Tensor, storage: str, group_size: int) -> torch.Tensor:
        derived.append(tuple(tensor.shape))
        return numbers(tensor, storage, group_size)

    def quantized_once(tensor: torch.Tensor, group_size: int) -> tuple[torch.Tensor, torch.Tensor]:
        derived.append(tuple(tensor.shape))
        return quantized(tensor, group_size)

    monkeypatch.setattr(reference_logits, "numbers", counted)
    monkeypatch.setattr(reference_logits, "quantized", quantized_once)
    made.of(TOKENS, [0, 1], agree=True)
    made.of(TOKENS, [2, 3], agree=False)
    hyper = made._hyper
    # transformers has other orders of rows for these
    twice = [name for name in hyper.shapes() if ".wq." in name or ".wk." in name]
    assert len(derived) == len(hyper.shapes()) + len(twice)


def test_shared_weights_are_those_that_the_file_should_hold_and_are_freed_with_the_model(tmp_path: Path) -> None:
    made = references(tmp_path)
    made.of(TOKENS, [0, 1], agree=False)
    model = made._transformers[True]._model
    embedding = made.file_weights("tok_embeddings.weight")
    for module in (model.model.embed_tokens, model.lm_head):
        assert module.weight.data_ptr() == embedding.data_ptr()
    for name in made._hyper.shapes():
        how = made._model.storage(name)
        right = numbers(made._source.tensor(name), how.storage, how.group_size)
        assert torch.equal(made.file_weights(name), right), name
    made.done_with_logits()
    assert not made._held_by_model


def test_a_model_that_is_streamed_shares_nothing(tmp_path: Path) -> None:
    made = references(tmp_path, Plan(None, True, 1, None, 0, 0))
    made.of(TOKENS, [0, 1], agree=False)
    assert not made._held_by_model
