"""transformers with one layer in memory at a time: the bits of the whole model, and nothing held between passes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from helpers import huggingface

from verify.errors import CannotJudgeError
from verify.oracle.transformers import TransformersOracle
from verify.sources import open_source
from verify.sources.huggingface import HuggingFaceSource

TOKENS = torch.from_numpy(np.random.default_rng(0).integers(0, 29, (3, 20)))


YARN = {"rope_type": "yarn", "rope_theta": 1e4, "factor": 2.0, "original_max_position_embeddings": 16}


def streamed(directory: Path) -> TransformersOracle:
    source = open_source(directory)
    assert isinstance(source, HuggingFaceSource)
    return TransformersOracle(source, streamed=True)


@pytest.mark.parametrize(
    ("architecture", "changes"),
    [
        ("LlamaForCausalLM", {}),
        ("LlamaForCausalLM", {"tie_word_embeddings": True}),
        ("LlamaForCausalLM", {"rope_scaling": YARN}),
        ("LlamaForCausalLM", {"attention_bias": True, "mlp_bias": True}),
        ("MistralForCausalLM", {}),
        ("Qwen2ForCausalLM", {"head_dim": None}),
    ],
)
def test_a_model_layer_by_layer_computes_the_bits_of_the_whole(
    tmp_path: Path, architecture: str, changes: dict[str, Any]
) -> None:
    changes = {key: value for key, value in changes.items() if value is not None}
    if architecture == "Qwen2ForCausalLM":
        changes["head_dim"] = 8
    made = huggingface.model(architecture, **changes)
    directory = huggingface.save(tmp_path / "model", made, max_shard_size="20KB")
    oracle = streamed(directory)
    whole = TransformersOracle(HuggingFaceSource(directory)).logits(TOKENS)
    for _again in range(2):
        assert torch.equal(oracle.logits(TOKENS), whole)


def test_between_two_passes_nothing_is_held(tmp_path: Path) -> None:
    oracle = streamed(huggingface.save(tmp_path / "model", huggingface.model()))
    oracle.logits(TOKENS)
    held = [parameter for parameter in oracle._model.parameters() if not parameter.is_meta]
    assert held == []


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda shapes: shapes.pop("norm.weight"), r"model.norm.weight: expected \(48,\), .* found none"),
        (
            lambda shapes: shapes.update({"layers.9.ffn_norm.weight": (3,)}),
            r"layers.9.post_attention_layernorm.weight: expected no such tensor, .* found \(3,\)",
        ),
    ],
)
def test_a_model_of_other_tensors_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, change: Any, words: str
) -> None:
    source = HuggingFaceSource(huggingface.save(tmp_path / "model", huggingface.model()))
    shapes = source.hyperparameters.shapes()
    change(shapes)
    monkeypatch.setattr(type(source.hyperparameters), "shapes", lambda _self: shapes)
    with pytest.raises(CannotJudgeError, match=words):
        TransformersOracle(source, streamed=True)
