"""Published config.json files, in every layout of weights: each ends as transformers means it."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers import huggingface
from helpers.config_draws import PUBLISHED
from helpers.models import same_bits
from helpers.published_configs import LAYOUTS, model, save, shrunk

import exporter
import verify
from verify.oracle import llama
from verify.oracle.transformers import TransformersOracle
from verify.sources import open_source
from verify.sources.huggingface import HuggingFaceSource

pytestmark = [pytest.mark.usefixtures("one_thread"), pytest.mark.slow]

# a window shorter than the model, which v3 holds; no others have one that hides anything
WINDOWED = {"mistralai/Mistral-7B-v0.1": 4096}
FAMILIES = {"llama", "mistral", "qwen2", "qwen3", "smollm3", "granite"}
TOKENS = torch.arange(40).view(2, 20) % 61


def test_there_are_28_of_six_families() -> None:
    assert len(PUBLISHED) == 28
    assert {said["model_type"] for said in PUBLISHED.values()} == FAMILIES


@pytest.mark.parametrize("name", PUBLISHED)
def test_each_is_verified_with_transformers_logits(tmp_path: Path, name: str) -> None:
    said = shrunk(PUBLISHED[name])
    directories = []
    for layout in LAYOUTS:
        directories.append(tmp_path / layout)
        directories[-1].mkdir()
        made = model(directories[-1], said)
        save(directories[-1], made, said, layout)
    expected = huggingface.logits(made, TOKENS)
    first = exporter.open_checkpoint(directories[0])
    for directory in directories:
        source, checkpoint = open_source(directory), exporter.open_checkpoint(directory)
        assert source.hyperparameters.window == WINDOWED.get(name, 0)
        assert dataclasses.asdict(source.hyperparameters) == dataclasses.asdict(checkpoint.config)
        assert isinstance(source, HuggingFaceSource)
        for tensor in first.names:
            assert same_bits(np.array(checkpoint.load(tensor)), np.array(first.load(tensor))), tensor
            assert same_bits(source.tensor(tensor).numpy(), np.array(first.load(tensor))), tensor
        theirs = TransformersOracle(source).logits(TOKENS)
        mine = llama.logits(source.hyperparameters, source.tensor, TOKENS).float()
        for logits in (mine, theirs):
            torch.testing.assert_close(logits, expected, rtol=0, atol=2e-5)
    out = tmp_path / "model.bin"
    exporter.export(first, out, format="v3")
    windows = [row.numpy() for row in TOKENS]
    report = verify.verify(directories[0], out, windows=windows, depth="quick")
    assert report.passed, report


@pytest.mark.parametrize("name", WINDOWED)
def test_a_model_no_longer_than_its_window_has_none(tmp_path: Path, name: str) -> None:
    said = shrunk(PUBLISHED[name])
    save(tmp_path, model(tmp_path, said), said, LAYOUTS[0])
    for asked, window in ((WINDOWED[name], 0), (WINDOWED[name] + 1, WINDOWED[name])):
        source, checkpoint = (
            open_source(tmp_path, max_seq_len=asked),
            exporter.open_checkpoint(tmp_path, max_seq_len=asked),
        )
        assert dataclasses.asdict(source.hyperparameters) == dataclasses.asdict(checkpoint.config)
        assert (source.hyperparameters.max_seq_len, source.hyperparameters.window) == (asked, window)
