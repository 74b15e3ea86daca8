"""transformers' model, layer by layer: the logits of the whole model, with one module's weights in memory."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from helpers import huggingface
from safetensors.torch import load_file

from verify.errors import CannotJudgeError
from verify.oracle.streamed import streamed_model
from verify.oracle.transformers import TransformersOracle
from verify.system.optional_imports import quiet_transformers

TOKENS = torch.from_numpy(np.random.default_rng(0).integers(0, 29, (2, 9)))


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    return huggingface.save(tmp_path / "model", huggingface.model())


def test_the_logits_are_those_of_the_whole_model_and_weights_are_freed(directory: Path) -> None:
    state = load_file(directory / "model.safetensors")
    reads: list[str] = []

    def read(name: str) -> torch.Tensor:
        reads.append(name)
        return state[name]

    shapes = {name: tuple(tensor.shape) for name, tensor in state.items()}
    with quiet_transformers() as transformers, torch.no_grad():
        model = streamed_model(transformers, directory, read, shapes)
        for _ in range(2):
            found = model(input_ids=TOKENS, use_cache=False).logits
            assert torch.equal(found, TransformersOracle(directory).logits(TOKENS))
            assert {parameter.device.type for parameter in model.parameters()} == {"meta"}
    assert set(reads) == set(state)


@pytest.mark.parametrize(("name", "found"), [("model.norm.weight", "none"), ("other.weight", r"\(3,\)")])
def test_other_tensors_than_the_model_s_are_refused(directory: Path, name: str, found: str) -> None:
    state = load_file(directory / "model.safetensors")
    shapes = {key: tuple(tensor.shape) for key, tensor in state.items()}
    if shapes.pop(name, None) is None:
        shapes[name] = (3,)
    with quiet_transformers() as transformers, pytest.raises(CannotJudgeError, match=f"{name}: .*found {found}"):
        streamed_model(transformers, directory, state.__getitem__, shapes)
