"""Mixtures of experts in Hugging Face directories: what is refused by name, and where a wrong number stands."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from helpers.family_draws import made
from helpers.hf_configs import noted
from helpers.huggingface import save
from helpers.models import checkpoint, config
from safetensors.torch import load_file, save_file

import exporter
from exporter.families import family_that_computes
from exporter.families.mixtures import Mixture, mixture

SIZES: dict[str, Any] = {
    "hidden_size": 16,
    "intermediate_size": 12,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
    "vocab_size": 11,
    "max_position_embeddings": 9,
    "pad_token_id": None,
    "num_experts_per_tok": 2,
}
KINDS = {"mixtral": "num_local_experts", "qwen3_moe": "num_experts", "olmoe": "num_experts"}
MIXED, PLAIN = exporter.LayerKind(experts=True), exporter.LayerKind()


def refusal(kind: str, **changes: Any) -> str:
    with pytest.raises(exporter.CheckpointError) as caught:
        noted(kind, **{"pad_token_id": None, **changes})
    return str(caught.value).partition("config.json: ")[2]


@pytest.mark.parametrize(
    ("kind", "changes", "message"),
    [
        *((kind, {key: 1}, f"{key}: expected 2 to 65535, found 1") for kind, key in KINDS.items()),
        ("mixtral", {"num_local_experts": 0}, "num_local_experts: expected 2 to 65535, found 0"),
        ("mixtral", {"num_experts": -1}, "num_experts: expected 2 to 65535, found -1"),
        ("mixtral", {"num_experts": 65536}, "num_experts: expected 2 to 65535, found 65536"),
        ("olmoe", {"num_local_experts": "8"}, "num_local_experts: expected 2 to 65535, found '8'"),
        ("mixtral", {"num_experts_per_tok": 9}, "num_experts_per_tok: expected 1 to num_local_experts = 8, found 9"),
        ("olmoe", {"num_experts_per_tok": 0}, "num_experts_per_tok: expected 1 to num_experts = 64, found 0"),
        ("mixtral", {"num_experts_per_tok": 2.0}, "num_experts_per_tok: expected an integer, found 2.0"),
        ("qwen3_moe", {"decoder_sparse_step": 0}, "decoder_sparse_step: expected at least 1, found 0"),
        ("qwen3_moe", {"moe_intermediate_size": 0}, "moe_intermediate_size: expected at least 1, found 0"),
        ("qwen3_moe", {"mlp_only_layers": 1}, "mlp_only_layers: expected a list of integers or null, found 1"),
        (
            "olmoe",
            {"clip_qkv": 8.0},
            "clip_qkv: expected null (transformers reads it for olmoe, and this project does not support other "
            "values), found 8.0",
        ),
        ("olmoe", {"head_dim": 4}, "head_dim: expected 2, which OLMoE's norm of queries requires, found 4"),
    ],
)
def test_a_key_of_experts_is_refused_by_name(kind: str, changes: dict[str, Any], message: str) -> None:
    assert refusal(kind, **changes) == message


@pytest.mark.parametrize(
    ("kind", "changes", "count"),
    [
        # the other name wins, as in transformers
        ("mixtral", {"num_local_experts": 4, "num_experts": 5}, 5),
        ("qwen3_moe", {"num_experts": 4, "num_local_experts": 6}, 6),
        ("olmoe", {"num_local_experts": 6}, 6),
    ],
)
def test_the_number_of_experts_has_two_names(kind: str, changes: dict[str, Any], count: int) -> None:
    found, _ = noted(kind, pad_token_id=None, num_experts_per_tok=2, **changes)
    assert found.n_experts == count


@pytest.mark.parametrize(
    ("changes", "mixed"),
    [
        ({"mlp_only_layers": [0]}, [False, True, True, True]),
        ({"decoder_sparse_step": 2}, [False, True, False, True]),
        ({"decoder_sparse_step": 2, "mlp_only_layers": [1, 7]}, [False, False, False, True]),
    ],
)
def test_layers_of_qwen3_moe_have_experts_as_config_json_says(changes: dict[str, Any], mixed: list[bool]) -> None:
    said = {"num_hidden_layers": 4, "moe_intermediate_size": 8, "num_experts": 8, **changes}
    found, _ = noted("qwen3_moe", pad_token_id=None, **said)
    assert [layer.experts for layer in found.layers] == mixed
    assert (found.hidden_dim, found.expert_hidden_dim) == (40, 8)


@pytest.mark.parametrize("changes", [{"num_experts": 0}, {"decoder_sparse_step": 9}, {"mlp_only_layers": [0, 1]}])
def test_a_qwen3_moe_without_experts_is_a_qwen3(changes: dict[str, Any]) -> None:
    found, _ = noted("qwen3_moe", pad_token_id=None, **changes)
    assert (found.n_experts, found.layers, found.hidden_dim) == (0, (), 40)
    assert family_that_computes(found, "qwen3_moe").model_type == "qwen3"


@pytest.mark.parametrize(("experts", "active", "hidden"), [(2, 1, 1), (65535, 65535, 7)])
def test_numbers_of_experts_may_be_at_their_limits(experts: int, active: int, hidden: int) -> None:
    given = {"num_experts": experts, "num_experts_per_tok": active, "width": hidden}
    found = mixture(given, (1, 3), "num_experts", "width", normalized=True)
    assert found == Mixture((1, 3), experts, active, hidden, True)


def test_more_experts_than_tensors_are_refused_before_as_many_names_are_made(tmp_path: Path) -> None:
    save(tmp_path, made("mixtral", {**SIZES, "num_local_experts": 4}))
    file = tmp_path / "config.json"
    text = file.read_text()
    file.write_text(text.replace('"num_local_experts": 4', '"num_local_experts": 60000'))
    with pytest.raises(exporter.CheckpointError) as caught:
        exporter.open_checkpoint(tmp_path)
    # 2 layers have 12 tensors of experts each, and 13 others
    assert str(caught.value) == (
        f"{file}: num_experts: expected at most 6, as many as there are tensors of experts, found 60000"
    )


@pytest.mark.parametrize(
    ("name", "index", "there", "place"),
    [
        ("layers.1.feed_forward.experts.2.w3.weight", (7, 5), "gate_up_proj", (2, 12 + 7, 5)),
        ("layers.1.feed_forward.experts.3.w1.weight", (7, 5), "gate_up_proj", (3, 7, 5)),
        ("layers.0.feed_forward.experts.1.w2.weight", (15, 11), "down_proj", (1, 15, 11)),
    ],
)
def test_a_wrong_number_is_reported_where_it_stands(
    tmp_path: Path, name: str, index: tuple[int, int], there: str, place: tuple[int, ...]
) -> None:
    made("mixtral", {**SIZES, "num_local_experts": 4}).save_pretrained(tmp_path, save_original_format=False)
    file = tmp_path / "model.safetensors"
    state = load_file(file)
    key = f"model.layers.{name.split('.')[1]}.mlp.experts.{there}"
    state[key][place] = torch.nan
    save_file(state, file)
    opened = exporter.open_checkpoint(tmp_path)
    assert np.isnan(opened.load(name)[index])
    assert opened.place(name, index) == (f"{file}: {key}", place)
    state = {key: tensor.double() for key, tensor in state.items()}
    state[key][place] = 1 + 2**-40
    save_file(state, file)
    with pytest.raises(exporter.WeightError) as caught:
        exporter.open_checkpoint(tmp_path).load(name)
    assert str(caught.value) == (
        f"{file}: {key}{list(place)}: expected a value that float32 can hold, found {1 + 2**-40!r}"
    )


@pytest.mark.parametrize(
    ("changes", "family"),
    [
        ({"experts_normalized": True}, "mixtral"),
        ({"experts_normalized": True, "qk_norm": "head"}, "qwen3_moe"),
        ({"qk_norm": "head", "hidden_dim": 40, "layers": (MIXED, PLAIN)}, "qwen3_moe"),
        ({"qk_norm": "whole"}, "olmoe"),
    ],
)
def test_a_model_becomes_the_first_family_whose_class_computes_it(changes: dict[str, Any], family: str) -> None:
    own = {"hidden_dim": 7, "n_experts": 3, "n_active_experts": 2, "expert_hidden_dim": 7, "layers": (MIXED, MIXED)}
    assert family_that_computes(config(**{**own, **changes})).model_type == family


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({}, "experts_normalized: expected true, as transformers' Mixtral has it"),
        ({"qk_norm": "whole", "norm_plus_one": True}, "norm_plus_one: expected false, as transformers' Olmoe has it"),
        (
            {"experts_normalized": True, "hidden_dim": 40, "layers": (PLAIN, MIXED)},
            "layers: expected experts in every layer, as transformers' Mixtral has it",
        ),
    ],
)
def test_a_model_of_no_family_is_compared_with_families_that_have_experts(
    changes: dict[str, Any], message: str
) -> None:
    own = {"hidden_dim": 7, "n_experts": 3, "n_active_experts": 2, "expert_hidden_dim": 7, "layers": (MIXED, MIXED)}
    with pytest.raises(exporter.FormatError) as caught:
        family_that_computes(config(**{**own, **changes}))
    assert str(caught.value).startswith(message)


def test_experts_are_for_v3_alone(tmp_path: Path) -> None:
    own = config(hidden_dim=7, n_experts=3, n_active_experts=2, expert_hidden_dim=7, layers=(MIXED, MIXED))
    for name in ("v0", "v1", "v1-fp32", "v2"):
        with pytest.raises(exporter.FormatError, match=rf"^n_experts: expected 0, which every reader of {name} "):
            exporter.export(checkpoint(own), tmp_path / "a.bin", format=name)  # type: ignore[arg-type]
