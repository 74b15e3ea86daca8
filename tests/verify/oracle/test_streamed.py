"""transformers' model, filled by the source: the logits of the whole model, with one module's weights in memory."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from helpers import huggingface

from verify.errors import CannotJudgeError
from verify.oracle.streamed import empty_model, fill, stream
from verify.oracle.transformers import TransformersOracle
from verify.sources.huggingface import HuggingFaceSource
from verify.system.optional_imports import quiet_transformers

TOKENS = torch.from_numpy(np.random.default_rng(0).integers(0, 29, (2, 9)))


@pytest.fixture
def source(tmp_path: Path) -> HuggingFaceSource:
    return HuggingFaceSource(huggingface.save(tmp_path / "model", huggingface.model()))


def test_streamed_logits_are_those_of_the_whole_model_and_weights_are_freed(source: HuggingFaceSource) -> None:
    whole = TransformersOracle(source).logits(TOKENS)
    with quiet_transformers() as transformers, torch.no_grad():
        model = empty_model(transformers, source)
        stream(model, source, source.transformers_tensor)
        for _ in range(2):
            assert torch.equal(model(input_ids=TOKENS, use_cache=False).logits, whole)
            assert {parameter.device.type for parameter in model.parameters()} == {"meta"}


def test_a_filled_model_holds_every_weight_and_gives_the_same_logits(source: HuggingFaceSource) -> None:
    with quiet_transformers() as transformers, torch.no_grad():
        model = empty_model(transformers, source)
        fill(model, source, source.transformers_tensor)
        assert {parameter.device.type for parameter in model.parameters()} == {"cpu"}
        assert torch.equal(model(input_ids=TOKENS, use_cache=False).logits, TransformersOracle(source).logits(TOKENS))


@pytest.mark.parametrize(("name", "found"), [("model.norm.weight", "none"), ("other.weight", r"\(48,\)")])
def test_other_tensors_than_the_model_s_are_refused(
    source: HuggingFaceSource, monkeypatch: pytest.MonkeyPatch, name: str, found: str
) -> None:
    tensors = source.transformers_tensors()
    if tensors.pop(name, None) is None:
        tensors[name] = ("norm.weight",)
    monkeypatch.setattr(source, "transformers_tensors", lambda: tensors)
    with quiet_transformers() as transformers, pytest.raises(CannotJudgeError, match=f"{name}: .*found {found}"):
        empty_model(transformers, source)
