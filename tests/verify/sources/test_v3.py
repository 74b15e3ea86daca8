"""v3 files as the verifier's source: every field of the head, every storage."""

from __future__ import annotations

import dataclasses
import hashlib
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers.models import arrays, config, hyperparameters, toy_file
from helpers.tokenizer_sources import save_model_of, save_sentencepiece
from helpers.v3_files import SCALINGS, healthy

import exporter
from verify.errors import CannotJudgeError
from verify.sources.v3 import V3Source


@pytest.mark.parametrize("scaling", SCALINGS)
def test_the_head_says_what_the_model_is(tmp_path: Path, scaling: str) -> None:
    path = tmp_path / "a.bin"
    content = healthy(path, scaling)
    source = V3Source(path)
    model = config(
        head_dim=10, qkv_bias=True, wo_bias=True, mlp_bias=True, rope_scaling=SCALINGS[scaling], rope_theta=5e5
    )
    assert source.hyperparameters == hyperparameters(model)
    assert source.files == {"a.bin": hashlib.sha256(content).hexdigest()}
    assert (source.tokenizer_path, source.tokenizer_block) == (tmp_path / "tokenizer.model", b"")
    mine = arrays(model)
    storages = {"norm.weight": "fp32", "layers.0.attention.wq.weight": "fp16"}
    storages |= {"layers.0.feed_forward.w1.weight": "bf16", "tok_embeddings.weight": "fp32"}
    for name, storage in storages.items():
        assert source.dtype(name) == storage
    assert torch.equal(source.tensor("norm.weight"), torch.from_numpy(mine["norm.weight"]))
    assert torch.equal(
        source.tensor("layers.0.attention.wq.weight"),
        torch.from_numpy(mine["layers.0.attention.wq.weight"]).half().float(),
    )
    quantized = exporter.quantize_q80(mine["tok_embeddings.weight"], 12)
    numbers = quantized.q.reshape(-1, 12).astype(np.float32) * quantized.scale.reshape(-1, 1)
    assert np.array_equal(source.tensor("tok_embeddings.weight").numpy().reshape(-1, 12), numbers)
    assert not torch.equal(source.tensor("output.weight"), source.tensor("tok_embeddings.weight"))


def test_a_tokenizer_in_the_file_is_the_source_s(tmp_path: Path) -> None:
    path = save_model_of(tmp_path / "a")
    model = save_sentencepiece(path.with_name("tokenizer.model"))
    exporter.export(path, tmp_path / "m.bin", format="v3")
    exporter.export_tokenizer(model, tmp_path / "block", format="v3")
    assert V3Source(tmp_path / "m.bin").tokenizer_block == (tmp_path / "block").read_bytes()


def test_a_tied_classifier_is_the_embedding(tmp_path: Path) -> None:
    source = V3Source(toy_file(tmp_path, "v3", tied=True))
    assert source.hyperparameters == hyperparameters(dataclasses.replace(config(), tied=True))
    assert torch.equal(source.tensor("output.weight"), source.tensor("tok_embeddings.weight"))


def test_other_formats_and_damage_are_refused(tmp_path: Path) -> None:
    path = toy_file(tmp_path, "v2")
    with pytest.raises(CannotJudgeError) as caught:
        V3Source(path)
    assert str(caught.value) == f"{path}: expected a source that says everything, found v2"
    path = toy_file(tmp_path, "v3")
    content = bytearray(path.read_bytes())
    content[-100] ^= 1
    path.write_bytes(content)
    with pytest.raises(CannotJudgeError, match="output"):
        V3Source(path)


def test_a_file_that_changes_is_refused(tmp_path: Path) -> None:
    path = toy_file(tmp_path, "v3")
    source = V3Source(path)
    source.expect_unchanged()
    path.touch()
    with pytest.raises(CannotJudgeError, match="changed while it was being read"):
        source.expect_unchanged()
