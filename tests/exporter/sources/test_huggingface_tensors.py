"""Tensors by transformers' names: a classifier that is stored beside a tied embedding, and float64."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers.models import config
from safetensors.torch import save_file

import exporter
from exporter.errors import CheckpointError, WeightError
from exporter.sources import huggingface_tensors
from exporter.sources.huggingface_files import WeightFiles
from exporter.sources.huggingface_tensors import CLASSIFIER, EMBEDDING, Tensors

NAMES = [EMBEDDING, CLASSIFIER, "model.norm.weight"]


def tensors(directory: Path, state: dict[str, torch.Tensor]) -> Tensors:
    path = directory / "model.safetensors"
    save_file(state, path)
    return Tensors(directory, WeightFiles((path,)), config(), NAMES)


def embedding(dtype: torch.dtype = torch.float32) -> torch.Tensor:
    return torch.arange(29.0 * 48).view(29, 48).to(dtype)


def refused(call: Callable[[], object]) -> str:
    with pytest.raises(CheckpointError) as caught:
        call()
    return str(caught.value)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16, torch.float64])
def test_a_classifier_that_is_the_embedding_is_taken_out(tmp_path: Path, dtype: torch.dtype) -> None:
    found = tensors(tmp_path, {EMBEDDING: embedding(dtype), CLASSIFIER: embedding(dtype)})
    found.take_out_tied_classifier()
    assert found.shapes == {EMBEDDING: (29, 48)}
    found.take_out_tied_classifier()


def test_an_embedding_without_columns_is_its_own_twin(tmp_path: Path) -> None:
    found = tensors(tmp_path, {EMBEDDING: torch.zeros(29, 0), CLASSIFIER: torch.zeros(29, 0)})
    found.take_out_tied_classifier()
    assert found.shapes == {EMBEDDING: (29, 0)}


def test_a_classifier_alone_is_no_twin(tmp_path: Path) -> None:
    found = tensors(tmp_path, {CLASSIFIER: embedding(), "model.norm.weight": torch.ones(48)})
    found.take_out_tied_classifier()
    assert found.shapes == {"model.norm.weight": (48,)}


TWIN = f"{CLASSIFIER}: expected {EMBEDDING} again, as config.json's tie_word_embeddings = true says"


@pytest.mark.parametrize(
    ("twin", "found"),
    [
        (embedding(torch.float64), "(29, 48) in F64"),
        (embedding(torch.float16), "(29, 48) in F16"),
        (embedding()[:28], "(28, 48) in F32"),
        (embedding().view(48, 29), "(48, 29) in F32"),
    ],
)
def test_a_twin_has_the_shape_and_the_stored_type_of_the_embedding(
    tmp_path: Path, twin: torch.Tensor, found: str
) -> None:
    """Of float64 and float32 the numbers may be equal, but not the bits."""
    mine = tensors(tmp_path, {EMBEDDING: embedding(), CLASSIFIER: twin.clone()})
    assert refused(mine.take_out_tied_classifier) == f"{tmp_path}: {TWIN}, (29, 48) in F32, found {found}"


def test_a_twin_of_the_same_bits_in_another_type_is_no_twin(tmp_path: Path) -> None:
    half = embedding(torch.float16)
    mine = tensors(tmp_path, {EMBEDDING: half, CLASSIFIER: half.clone().view(torch.bfloat16)})
    assert refused(mine.take_out_tied_classifier) == f"{tmp_path}: {TWIN}, (29, 48) in F16, found (29, 48) in BF16"


def test_a_twin_is_a_matrix(tmp_path: Path) -> None:
    mine = tensors(tmp_path, {EMBEDDING: torch.ones(48), CLASSIFIER: torch.ones(48)})
    assert refused(mine.take_out_tied_classifier) == f"{tmp_path}: {TWIN}, (48,) in F32, found (48,) in F32"


@pytest.mark.parametrize("chunk", [1, 8 * 48, 8 * 48 * 5, 1 << 25])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_twin_differs_in_any_bit_of_any_row(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, dtype: torch.dtype, chunk: int
) -> None:
    monkeypatch.setattr(huggingface_tensors, "_CHUNK_BYTES", chunk)
    for row in (0, 4, 5, 28):
        twin = torch.zeros(29, 48, dtype=dtype)
        twin[row:, 47] = -0.0
        mine = tensors(tmp_path, {EMBEDDING: torch.zeros(29, 48, dtype=dtype), CLASSIFIER: twin})
        message = f"{tmp_path}: {TWIN}, found other bits, in row {row} first"
        assert refused(mine.take_out_tied_classifier) == message


def test_float64_is_read_as_float32_where_that_is_the_same_number(tmp_path: Path) -> None:
    wide = embedding(torch.float64)
    mine = tensors(tmp_path, {EMBEDDING: wide})
    found = mine.float32(EMBEDDING)
    assert found.dtype == np.float32
    assert np.array_equal(found, wide.numpy())
    assert mine.dtype(EMBEDDING) == "fp32"
    assert mine.where(EMBEDDING) == f"{tmp_path / 'model.safetensors'}: {EMBEDDING}"
    for other in (1 + 2.0**-30, 1e300):
        wide[[3, 7], [5, 1]] = other
        mine = tensors(tmp_path, {EMBEDDING: wide})
        with pytest.raises(WeightError) as caught:
            mine.float32(EMBEDDING)
        assert caught.value.index == (3, 5)
        assert str(caught.value) == (
            f"{tmp_path / 'model.safetensors'}: {EMBEDDING}[3, 5]: expected a value that float32 can hold, found "
            f"{other!r}"
        )
    wide[:] = float("nan")  # a NaN is read as it is; the export refuses it
    assert np.isnan(tensors(tmp_path, {EMBEDDING: wide}).float32(EMBEDDING)).all()


def test_rows_of_one_expert_are_read_of_all_of_them(tmp_path: Path) -> None:
    name = "model.layers.0.mlp.experts.gate_up_proj"
    joined = torch.arange(3.0 * 5 * 2, dtype=torch.float64).view(3, 5, 2)
    save_file({name: joined}, tmp_path / "model.safetensors")

    def read(expert: int, rows: slice) -> np.ndarray:
        files = WeightFiles((tmp_path / "model.safetensors",))
        return Tensors(tmp_path, files, config(), [name]).expert(name, expert, rows)

    for expert in range(3):
        for start, stop in ((0, 5), (0, 2), (2, 5), (3, 4)):
            assert np.array_equal(read(expert, slice(start, stop)), joined[expert, start:stop].numpy())
    joined[2, 4, 1] = 0.1
    save_file({name: joined}, tmp_path / "model.safetensors")
    with pytest.raises(WeightError) as caught:
        read(2, slice(3, 5))
    assert caught.value.index == (2, 4, 1)


def test_wrappers_and_buffers_are_left_out_with_a_note(tmp_path: Path) -> None:
    frequencies = torch.tensor([10000.0 ** (-2 * pair / 8) for pair in range(4)])
    state = {f"module.{EMBEDDING}": embedding(), "module.model.layers.0.self_attn.rotary_emb.inv_freq": frequencies}
    mine = tensors(tmp_path, state)
    assert mine.shapes == {EMBEDDING: (29, 48)}
    assert mine.notes == (
        'weights are named with the prefix "module."; it was removed',
        "left out, since they hold what follows from the config: 1 buffers (rotary_emb.inv_freq)",
    )
    assert np.array_equal(mine.read(EMBEDDING, slice(2, 4)), embedding()[2:4].numpy())
    state["module.model.layers.0.self_attn.rotary_emb.inv_freq"] = frequencies * 2
    with pytest.raises(
        exporter.CheckpointError, match=r"rotary_emb\.inv_freq: expected RoPE's frequencies for theta"
    ):
        tensors(tmp_path, state)
