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
from verify.errors import CannotJudgeError
from verify.oracle import llama
from verify.oracle.transformers import TransformersOracle
from verify.sources import open_source
from verify.sources.huggingface import HuggingFaceSource

pytestmark = [pytest.mark.usefixtures("one_thread"), pytest.mark.slow]

UNSUPPORTED = {"qwen3", "smollm3", "granite"}
# shorter than the model
WINDOWED = {"mistralai/Mistral-7B-v0.1": 4096}
TOKENS = torch.arange(40).view(2, 20) % 61


def test_there_are_28_and_few_are_of_another_kind() -> None:
    assert len(PUBLISHED) == 28
    assert sum(said["model_type"] in UNSUPPORTED for said in PUBLISHED.values()) == 3


@pytest.mark.parametrize("name", PUBLISHED)
def test_each_is_verified_with_transformers_logits_or_refused_by_name(tmp_path: Path, name: str) -> None:
    said = shrunk(PUBLISHED[name])
    directories = []
    for layout in LAYOUTS:
        directories.append(tmp_path / layout)
        directories[-1].mkdir()
        made = model(directories[-1], said)
        save(directories[-1], made, said, layout)
    if said["model_type"] in UNSUPPORTED:
        for directory in directories:
            expect_refused(directory, rf"config.json: model_type: expected one of .*, found .*{said['model_type']}")
        return
    asked = WINDOWED.get(name)
    if asked is not None:
        for directory in directories:
            expect_refused(directory, f"sliding_window: .*: --max-seq-len {asked} or less makes it exact$")
    expected = huggingface.logits(made, TOKENS)
    first = exporter.open_checkpoint(directories[0], max_seq_len=asked)
    for directory in directories:
        source, checkpoint = (
            open_source(directory, max_seq_len=asked),
            exporter.open_checkpoint(directory, max_seq_len=asked),
        )
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
    report = verify.verify(directories[0], out, windows=windows, depth="quick", max_seq_len=asked)
    assert report.passed, report


def expect_refused(directory: Path, message: str) -> None:
    with pytest.raises(exporter.CheckpointError, match=message):
        exporter.open_checkpoint(directory)
    with pytest.raises(CannotJudgeError, match=message):
        open_source(directory)
