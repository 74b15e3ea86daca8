"""Fused matrices: where an element of a part stands in the source, and adapters of the whole."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from helpers import adapters, hf_directories
from helpers.family_draws import made
from helpers.huggingface import save
from safetensors.torch import load_file, save_file

import exporter

SIZES = {
    **hf_directories.SIZES,
    **{"head_dim": 8, "pad_token_id": None, "partial_rotary_factor": 0.5},
    "rope_parameters": {"rope_type": "default", "rope_theta": 1e4, "partial_rotary_factor": 0.5},
}
QKV, GATE_UP = "model.layers.1.self_attn.qkv_proj", "model.layers.0.mlp.gate_up_proj"


@pytest.mark.parametrize(
    ("name", "index", "there", "place"),
    [
        # row 1 of a head is row 2 of its rotated half of 4; row 5 is not rotated
        ("layers.1.attention.wk.weight", (9, 3), QKV, (48 + 8 + 2, 3)),
        ("layers.1.attention.wk.weight", (13, 3), QKV, (48 + 8 + 5, 3)),
        ("layers.1.attention.wv.weight", (2, 0), QKV, (48 + 24 + 2, 0)),
        ("layers.0.feed_forward.w3.weight", (7, 47), GATE_UP, (40 + 7, 47)),
        ("layers.0.feed_forward.w1.weight", (7, 47), GATE_UP, (7, 47)),
    ],
)
def test_a_wrong_number_is_reported_where_it_stands(
    tmp_path: Path, name: str, index: tuple[int, int], there: str, place: tuple[int, int]
) -> None:
    file = save(tmp_path, made("phi3", SIZES)) / "model.safetensors"
    state = load_file(file)
    state[f"{there}.weight"][place] = torch.nan
    save_file(state, file)
    opened = exporter.open_checkpoint(tmp_path)
    assert np.isnan(opened.load(name)[index])
    assert opened.place(name, index) == (f"{file}: {there}.weight", place)
    with pytest.raises(exporter.WeightError) as caught:
        exporter.export(opened, tmp_path / "model.bin", format="v3")
    assert str(caught.value) == f"{file}: {there}.weight: {list(place)}: expected a finite weight, found nan"


def test_a_float64_that_float32_cannot_hold_is_reported_where_it_stands(tmp_path: Path) -> None:
    file = save(tmp_path, made("phi3", SIZES)) / "model.safetensors"
    state = {name: tensor.double() for name, tensor in load_file(file).items()}
    state[f"{QKV}.weight"][50, 3] = 1 + 2**-40
    save_file(state, file)
    opened = exporter.open_checkpoint(tmp_path)
    opened.load("layers.1.attention.wq.weight")
    with pytest.raises(exporter.WeightError) as caught:
        opened.load("layers.1.attention.wk.weight")
    assert str(caught.value) == (
        f"{file}: {QKV}.weight[50, 3]: expected a value that float32 can hold, found {1 + 2**-40!r}"
    )


def test_an_adapter_of_a_fused_matrix_is_merged_into_its_parts(tmp_path: Path) -> None:
    base = save(tmp_path / "base", made("phi3", SIZES))
    state = load_file(base / "model.safetensors")
    generator = torch.Generator().manual_seed(1)
    tensors = {}
    for layer in range(2):
        for module, shape in (("self_attn.qkv_proj", (96, 48)), ("mlp.gate_up_proj", (80, 48))):
            name = f"model.layers.{layer}.{module}"
            a, b = torch.randn(4, shape[1], generator=generator), torch.randn(shape[0], 4, generator=generator)
            tensors |= {f"base_model.model.{name}.lora_{part}.weight": each for part, each in (("A", a), ("B", b))}
            total = torch.zeros(shape, dtype=torch.float64)
            for rank in range(4):
                total += b[:, rank, None].double() * a[rank].double()
            state[f"{name}.weight"] = (total * (6 / 4) + state[f"{name}.weight"].double()).float()
    adapter = adapters.save(tmp_path / "adapter", tensors, target_modules=["qkv_proj", "gate_up_proj"])
    merged = save(tmp_path / "merged", made("phi3", SIZES))
    save_file(state, merged / "model.safetensors", {"format": "pt"})
    found = exporter.open_checkpoint(base, adapter=adapter)
    expected = exporter.open_checkpoint(merged)
    for name in expected.names:
        assert np.array_equal(found.load(name), expected.load(name)), name
    assert found.notes[-1] == f"{adapter}: a LoRA adapter of 4 matrices was merged"
