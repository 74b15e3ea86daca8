"""qwen3.c's files: their bytes, what they cannot hold, and their groups."""

from __future__ import annotations

import struct
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers.models import same_bits
from helpers.qwen3c import qwen3c_config, qwen3c_configs, qwen3c_file
from hypothesis import given

import exporter
from exporter.config import tensor_shapes
from exporter.formats.ajc1 import check_expressible, choose_group_size, lay_out
from verify.testing import random_arrays


@pytest.mark.parametrize("tied", [False, True])
def test_the_header_is_qwen3_c_s(tied: bool) -> None:
    header = lay_out(qwen3c_config(tied=tied), 8).header
    fields = (0x616A6331, 1, 48, 40, 2, 6, 3, 29, 33, 12, tied, 8)
    assert header == struct.pack("<12i", *fields) + bytes(208)
    assert header[:4] == b"1cja"


@given(qwen3c_configs())
def test_parts_follow_each_other_and_hold_every_tensor_once(model: exporter.ModelConfig) -> None:
    group = choose_group_size(model, 64, exact=False)
    layout = lay_out(model, group)
    at, values = 256, {}
    for part in layout.parts:
        assert part.offset == at
        assert part.nbytes == prod(part.shape) * (1 if part.part == "int8" else 4)
        at += part.nbytes
        if part.part != "scale":
            assert part.tensor not in values
            values[part.tensor] = part.shape
    assert at == layout.size
    assert values == tensor_shapes(model)
    norms = [part.tensor for part in layout.parts if part.part == "fp32"]
    assert [part.tensor for part in layout.parts[: len(norms)]] == norms
    assert all(len(values[part.tensor]) == 2 for part in layout.parts[len(norms) :])


CANNOT: list[tuple[dict[str, Any], str]] = [
    ({"rope_theta": 10000.0}, "rope_theta: expected 1000000, which every reader of ajc1 assumes, found 10000"),
    ({"norm_eps": 1e-5}, "norm_eps: expected 1e-06, which every reader of ajc1 assumes, found 1e-05"),
    ({"rope_scaling": exporter.RopeScaling("linear", factor=4.0)}, "rope_scaling: expected none, .* found linear"),
    ({"qkv_bias": True}, "qkv_bias: expected false, .* found true"),
    ({"wo_bias": True}, "wo_bias: expected false, .* found true"),
    ({"mlp_bias": True}, "mlp_bias: expected false, .* found true"),
    ({"activation": "gelu"}, "activation: expected silu, .* found gelu"),
    ({"qk_norm": "none"}, "qk_norm: expected head, .* found none"),
    ({"qk_norm": "whole"}, "qk_norm: expected head, .* found whole"),
    ({"norm_place": "both"}, "norm_place: expected before, .* found both"),
    ({"norm_plus_one": True}, "norm_plus_one: expected false, .* found true"),
    ({"rotary_dim": 6}, "rotary_dim: expected 0, .* found 6"),
    ({"window": 4, "layers": (exporter.LayerKind(windowed=True),) * 2}, "window: expected 0, .* found 4"),
    ({"layers": (exporter.LayerKind(rope="none"), exporter.LayerKind())}, "layers: expected layers of one kind"),
    ({"embedding_scale": 2.0}, "embedding_scale: expected 1, .* found 2"),
    ({"score_cap": 50.0}, "score_cap: expected 0, .* found 50"),
    ({"logit_divisor": 2.0}, "logit_divisor: expected 1, .* found 2"),
    ({"dim": 74}, r"n_heads \* head_dim: expected at least dim = 74, .* found 72: give --format v3"),
]


@pytest.mark.parametrize(("changes", "message"), CANNOT)
def test_what_qwen3_c_would_compute_otherwise_is_refused(
    tmp_path: Path, changes: dict[str, Any], message: str
) -> None:
    model = qwen3c_config(**changes)
    checkpoint = exporter.Checkpoint.from_arrays(model, random_arrays(model, 0))
    with pytest.raises(exporter.FormatError, match=message):
        exporter.export(checkpoint, tmp_path / "out", format="ajc1")
    assert not (tmp_path / "out").exists()


def test_numbers_that_float32_has_alike_are_the_same() -> None:
    check_expressible(qwen3c_config(norm_eps=float(np.float32(1e-6)), dim=72))


@pytest.mark.parametrize(
    ("changes", "requested", "chosen"),
    [
        ({}, 64, 8),
        ({}, 8, 8),
        ({}, 7, 1),
        ({}, 12, 1),  # 6 and 3 divide no 40
        ({"hidden_dim": 96, "dim": 48, "head_dim": 32}, 64, 16),
        ({"hidden_dim": 320, "dim": 64, "head_dim": 64}, 64, 64),
        (
            {"hidden_dim": 1 << 20, "dim": 1 << 20, "n_heads": 1, "n_kv_heads": 1, "head_dim": 1 << 20},
            1 << 20,
            1 << 17,
        ),
    ],
)
def test_the_group_size_is_halved_until_it_divides_every_row(
    changes: dict[str, Any], requested: int, chosen: int
) -> None:
    model = qwen3c_config(**changes)
    assert choose_group_size(model, requested, exact=False) == chosen
    if chosen == requested:
        assert choose_group_size(model, requested, exact=True) == chosen
        return
    with pytest.raises(exporter.FormatError, match=rf"found {requested}; halved until it fits, it is {chosen}$"):
        choose_group_size(model, requested, exact=True)


def test_a_group_size_is_a_positive_integer() -> None:
    with pytest.raises(exporter.FormatError, match="group_size: expected a positive integer, found 0"):
        choose_group_size(qwen3c_config(), 0, exact=False)


def test_rows_of_queries_and_keys_stand_in_halves_and_zeros_have_the_scale_zero(tmp_path: Path) -> None:
    model = qwen3c_config()
    arrays = random_arrays(model, 3)
    arrays["layers.0.feed_forward.w1.weight"][:] = 0
    content = qwen3c_file(tmp_path / "model.bin", model, arrays, 8).read_bytes()
    parts = {(part.tensor, part.part): part for part in lay_out(model, 8).parts}

    def found(name: str, part: str, dtype: str) -> np.ndarray:
        place = parts[name, part]
        return np.frombuffer(content, dtype, prod(place.shape), place.offset).reshape(place.shape)

    for module, heads in (("wq", 6), ("wk", 3)):
        name = f"layers.1.attention.{module}.weight"
        halves = arrays[name].reshape(heads, 6, 2, 48).transpose(0, 2, 1, 3).reshape(-1, 48)
        made = exporter.quantize_q80(np.ascontiguousarray(halves), 8)
        assert same_bits(found(name, "int8", "i1"), made.q)
        assert same_bits(found(name, "scale", "<f4"), made.scale)
    norm = "layers.1.attention.q_norm.weight"
    assert same_bits(found(norm, "fp32", "<f4"), np.concatenate((arrays[norm][0::2], arrays[norm][1::2])))
    untouched = "layers.1.attention.wv.weight"
    assert same_bits(found(untouched, "int8", "i1"), exporter.quantize_q80(arrays[untouched], 8).q)
    zeros = "layers.0.feed_forward.w1.weight"
    assert not found(zeros, "int8", "i1").any()
    assert not found(zeros, "scale", "<f4").any()


def test_the_report_of_an_export(tmp_path: Path) -> None:
    model = qwen3c_config()
    checkpoint = exporter.Checkpoint.from_arrays(model, random_arrays(model, 0))
    summary = exporter.export(checkpoint, tmp_path / "model.bin", format="ajc1")
    assert (summary.format, summary.group_size, summary.requested_group_size) == ("ajc1", 8, 64)
    assert {tensor.name: tensor.storage for tensor in summary.tensors} == {
        name: "q8_0" if len(shape) == 2 else "fp32" for name, shape in tensor_shapes(model).items()
    }
    with pytest.raises(exporter.FormatError, match="storage: expected none for ajc1, which fixes its own"):
        exporter.export(checkpoint, tmp_path / "model.bin", format="ajc1", storage="fp16")


def test_a_group_may_be_as_large_as_its_sum_allows() -> None:
    wide = qwen3c_config(dim=132104, hidden_dim=132104, n_heads=1, n_kv_heads=1, head_dim=132104)
    assert choose_group_size(wide, 132104, exact=True) == 132104
