"""Random small models of each family: the reference computes what transformers computes, all in float64."""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers import huggingface
from helpers.family_models import CLASSES, family_model, family_settings
from hypothesis import given
from hypothesis import strategies as st

from verify.oracle import llama
from verify.sources.huggingface import HuggingFaceSource


@pytest.mark.slow
@pytest.mark.parametrize("family", CLASSES)
@given(data=st.data(), seed=st.integers(0, 99))
def test_reference_is_transformers_to_float64(family: str, data: st.DataObject, seed: int) -> None:
    settings = data.draw(family_settings(family))
    with huggingface.float64_arithmetic():
        model = family_model(family, settings, seed)
        shape = (2, settings["max_position_embeddings"])
        tokens = torch.from_numpy(np.random.default_rng(seed).integers(0, settings["vocab_size"], shape))
        expected = huggingface.logits(model, tokens)
    assert expected.dtype == torch.float64
    with tempfile.TemporaryDirectory() as directory:
        source = HuggingFaceSource(huggingface.save(Path(directory), model))
        found = llama.logits(source.hyperparameters, source.tensor, tokens)
    torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-9)
