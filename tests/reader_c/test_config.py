"""Config: the header's fields, and what a format implies where it has none."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
from helpers.models import LEGACY_FORMATS, checkpoint, config, toy_file
from helpers.v3_files import SCALINGS
from hypothesis import given

import exporter
import reader_c
from verify.testing import configs


@pytest.mark.parametrize("format_name", LEGACY_FORMATS)
@pytest.mark.parametrize("tied", [False, True])
def test_old_formats_imply_llama2_c_s_constants(tmp_path: Path, format_name: str, tied: bool) -> None:
    with reader_c.open(toy_file(tmp_path, format_name, tied=tied)) as model:
        found = model.config
    assert found == reader_c.Config(
        dim=48,
        hidden_dim=40,
        n_layers=2,
        n_heads=6,
        n_kv_heads=3,
        vocab_size=29,
        max_seq_len=33,
        head_dim=8,
        shared_classifier=tied,
        qkv_bias=False,
        wo_bias=False,
        mlp_bias=False,
        activation="silu",
        group_size=8 if format_name in ("v1", "v2") else 0,
        norm_eps=pytest.approx(1e-5),
        rope_theta=10000.0,
        rope_scaling=reader_c.RopeScaling("none", 0.0, 0, 0.0, 0.0, 0.0, 0.0, 0.0, False),
        norm_place="before",
        norm_plus_one=False,
        qk_norm="none",
        rotary_dim=8,
        window=0,
        query_scale_positions=0,
        embedding_scale=1.0,
        score_scale=0.0,
        residual_scale=1.0,
        logit_divisor=1.0,
        score_cap=0.0,
        logit_cap=0.0,
        query_scale_beta=0.0,
        local_theta=0.0,
        n_experts=0,
        n_active_experts=0,
        expert_hidden_dim=0,
        experts_normalized=False,
        layers=(reader_c.Layer(windowed=False, rope="first"),) * 2,
    )


@given(configs(biases=True, head_sizes=True, scalings=True, activations=True, numbers=True, switches=True))
def test_v3_keeps_every_field(tmp_path_factory: pytest.TempPathFactory, model: exporter.ModelConfig) -> None:
    path = tmp_path_factory.mktemp("config") / "out.bin"
    exporter.export(checkpoint(model), path, format="v3")
    with reader_c.open(path) as opened:
        found = dataclasses.asdict(opened.config)
    layers = [model.layer(number) for number in range(model.n_layers)]
    expected = dataclasses.asdict(model) | {
        "rotary_dim": model.rotated,
        "layers": tuple(dataclasses.asdict(layer) for layer in layers),
    }
    del expected["rope_scaling"]["long_factors"]  # which only a directory of Hugging Face has
    assert found.pop("shared_classifier") == expected.pop("tied")
    assert found.pop("group_size") == 0
    assert found == expected


@pytest.mark.parametrize("scaling", SCALINGS)
def test_every_kind_of_scaling_keeps_its_name_and_numbers(tmp_path: Path, scaling: str) -> None:
    model = config(head_dim=10, rope_scaling=SCALINGS[scaling])
    exporter.export(checkpoint(model), tmp_path / "out.bin", format="v3")
    with reader_c.open(tmp_path / "out.bin") as opened:
        expected = dataclasses.asdict(SCALINGS[scaling])
        del expected["long_factors"]
        assert dataclasses.asdict(opened.config.rope_scaling) == expected
