"""The references of mistakes with weights have these very mistakes."""

from __future__ import annotations

import pytest
import torch
from helpers.models import arrays, config, hyperparameters

from verify.engine.hint_weights import of_omitted_inputs
from verify.sources import Hyperparameters

Loaded = dict[str, torch.Tensor]


def omissions(group_size: int, *, tied: bool = False) -> tuple[Hyperparameters, Loaded, dict[str, Loaded]]:
    """The model, its tensors, and by sentence every tensor as a mistake loads it. Rows have 48 and 40 inputs."""
    model = config(tied=tied)
    hyper = hyperparameters(model)
    weights = {name: torch.from_numpy(array) for name, array in arrays(model).items()}
    names = {*weights, "output.weight"}
    found = {
        known.sentence: {name: known.load(name) for name in names}
        for known in of_omitted_inputs(hyper, weights.__getitem__, group_size)
    }
    return hyper, weights, found


def omitted(right: torch.Tensor, loaded: torch.Tensor) -> int:
    """How many of the last inputs of each row are zero; all others must be right."""
    kept = right.shape[1] - int((loaded == 0).all(dim=0).sum())
    assert torch.equal(loaded[:, :kept], right[:, :kept])
    assert not loaded[:, kept:].any()
    return right.shape[1] - kept


@pytest.mark.parametrize("group_size", [1, 2, 8, 40])
def test_the_last_group_is_one_whole_group_of_each_row(group_size: int) -> None:
    _, weights, found = omissions(group_size)
    loaded = found[f"omits the last group of {group_size} inputs of each row"]
    for name, right in weights.items():
        if right.ndim != 2 or name == "tok_embeddings.weight":
            assert torch.equal(loaded[name], right)
        else:
            assert omitted(right, loaded[name]) == group_size


def test_without_groups_none_is_omitted() -> None:
    assert not any("group" in sentence for sentence in omissions(0)[2])


@pytest.mark.parametrize("lanes", [4, 8, 16, 32])
def test_inputs_after_the_last_multiple_are_the_rest_of_each_row(lanes: int) -> None:
    """Of 48 and 40: 4 and 8 leave no rest, 16 leaves one of 40, and 32 of both."""
    _, weights, found = omissions(8)
    sentence = f"omits the inputs after the last multiple of {lanes} of each row"
    assert (sentence in found) == (lanes in (16, 32))
    for name, right in weights.items() if sentence in found else ():
        if right.ndim == 2 and name != "tok_embeddings.weight":
            assert omitted(right, found[sentence][name]) == right.shape[1] % lanes


def test_a_tied_classifier_omits_inputs_and_the_embedding_does_not() -> None:
    hyper, weights, found = omissions(8, tied=True)
    assert hyper.tied
    loaded = found["omits the last group of 8 inputs of each row"]
    right = weights["tok_embeddings.weight"]
    assert torch.equal(loaded["tok_embeddings.weight"], right)
    assert omitted(right, loaded["output.weight"]) == 8
