"""Directories of mixtures of experts: both forms of their tensors, and what config.json must say about them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from helpers import huggingface
from helpers.family_models import family_model
from safetensors.torch import load_file, save_file

from verify.errors import CannotJudgeError
from verify.oracle.transformers import TransformersOracle
from verify.sources.huggingface import HuggingFaceSource
from verify.sources.huggingface_names import transformers_name

SIZES: dict[str, Any] = {
    **{"hidden_size": 12, "intermediate_size": 8, "num_hidden_layers": 3, "num_attention_heads": 2},
    **{"num_key_value_heads": 1, "vocab_size": 11, "max_position_embeddings": 9, "pad_token_id": None},
}
OWN: dict[str, dict[str, Any]] = {
    "mixtral": {"num_local_experts": 4, "num_experts_per_tok": 2},
    "qwen3_moe": {
        **{"num_experts": 4, "num_experts_per_tok": 2, "head_dim": 6, "moe_intermediate_size": 4},
        **{"mlp_only_layers": [1], "norm_topk_prob": True},
    },
    "olmoe": {"num_experts": 4, "num_experts_per_tok": 3},
}
# the family's names of an expert's matrices, and where its experts stand
NAMES = {
    "mixtral": ("block_sparse_moe.experts", "w1", "w3", "w2"),
    "qwen3_moe": ("mlp.experts", "gate_proj", "up_proj", "down_proj"),
    "olmoe": ("mlp.experts", "gate_proj", "up_proj", "down_proj"),
}
FAMILIES = tuple(OWN)
TOKENS = torch.arange(9)[None] % 11


def directory(path: Path, family: str, **changes: Any) -> Path:
    return huggingface.save(path / "model", family_model(family, {**SIZES, **OWN[family], **changes}, 0))


def fused(path: Path, family: str, *, keep: bool = False) -> Path:
    """The same tensors, the experts of each layer in two. keep: one layer's also as they were."""
    weights = load_file(path / "model.safetensors")
    place, gate, up, down = NAMES[family]
    for layer in range(3):
        prefix = f"model.layers.{layer}.{place}"
        if f"{prefix}.0.{gate}.weight" not in weights:
            continue
        take = weights.get if keep else weights.pop
        parts = [[take(f"{prefix}.{expert}.{name}.weight") for expert in range(4)] for name in (gate, up, down)]
        own = f"model.layers.{layer}.mlp.experts"
        pairs = zip(parts[0], parts[1], strict=True)
        weights[f"{own}.gate_up_proj"] = torch.stack([torch.cat(pair) for pair in pairs])
        weights[f"{own}.down_proj"] = torch.stack(parts[2])
    save_file(weights, path / "model.safetensors", {"format": "pt"})
    return path


@pytest.mark.parametrize("family", FAMILIES)
def test_fused_experts_are_those_of_single_tensors(tmp_path: Path, family: str) -> None:
    path = directory(tmp_path, family)
    alone = HuggingFaceSource(path)
    held = {name: alone.tensor(name) for name in alone.hyperparameters.shapes()}
    logits = TransformersOracle(alone).logits(TOKENS)
    together = HuggingFaceSource(fused(path, family))
    assert together.hyperparameters == alone.hyperparameters
    assert all(torch.equal(together.tensor(name), tensor) for name, tensor in held.items())
    for streamed in (False, True):
        found = TransformersOracle(together, streamed=streamed).logits(TOKENS)
        torch.testing.assert_close(found, logits, rtol=0, atol=2e-5)


@pytest.mark.parametrize("family", FAMILIES)
def test_what_experts_are_comes_from_config_and_tensors(tmp_path: Path, family: str) -> None:
    hyper = HuggingFaceSource(directory(tmp_path, family)).hyperparameters
    sparse = [hyper.layer(number).experts for number in range(3)]
    assert sparse == ([True, False, True] if family == "qwen3_moe" else [True] * 3)
    assert (hyper.n_experts, hyper.n_active_experts) == (4, 3 if family == "olmoe" else 2)
    assert hyper.expert_hidden_dim == (4 if family == "qwen3_moe" else 8)
    assert hyper.hidden_dim == 8
    assert hyper.experts_normalized == (family != "olmoe")
    assert hyper.qk_norm == {"mixtral": "none", "qwen3_moe": "head", "olmoe": "whole"}[family]


def test_where_every_layer_has_experts_the_hidden_width_is_theirs(tmp_path: Path) -> None:
    path = directory(tmp_path, "qwen3_moe", mlp_only_layers=[])
    assert HuggingFaceSource(path).hyperparameters.hidden_dim == 4


def test_where_no_layer_has_experts_nothing_is_said_of_them(tmp_path: Path) -> None:
    hyper = HuggingFaceSource(directory(tmp_path, "qwen3_moe", decoder_sparse_step=4)).hyperparameters
    assert (hyper.n_experts, hyper.n_active_experts, hyper.expert_hidden_dim) == (0, 0, 0)
    assert not hyper.experts_normalized
    assert hyper.layers == ()


def refused(path: Path, message: str) -> None:
    with pytest.raises(CannotJudgeError, match=message):
        HuggingFaceSource(path)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"num_local_experts": 5}, "num_local_experts: expected 4, as the tensors say, found 5"),
        ({"intermediate_size": 9}, "intermediate_size: expected 8, as the tensors say, found 9"),
        ({"num_experts_per_tok": 5}, "num_experts_per_tok: expected at most 4, the experts that there are, found 5"),
        ({"num_experts_per_tok": 0}, "num_experts_per_tok: expected a positive integer below 2\\^31, found 0"),
    ],
)
def test_what_config_says_of_mixtral_must_be_what_the_tensors_say(
    tmp_path: Path, changes: dict[str, Any], message: str
) -> None:
    refused(huggingface.rewrite(directory(tmp_path, "mixtral"), **changes), message)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"mlp_only_layers": [0]}, "layers.0.feed_forward.w1.weight|layers.1.feed_forward.router.weight"),
        ({"moe_intermediate_size": 5}, "moe_intermediate_size: expected 4, as the tensors say, found 5"),
        ({"intermediate_size": 5}, "intermediate_size: expected 8, as the tensors say, found 5"),
        ({"decoder_sparse_step": 0}, "decoder_sparse_step: expected"),
    ],
)
def test_what_config_says_of_qwen3_moe_must_be_what_the_tensors_say(
    tmp_path: Path, changes: dict[str, Any], message: str
) -> None:
    refused(huggingface.rewrite(directory(tmp_path, "qwen3_moe"), **changes), message)


def test_clipped_queries_are_refused(tmp_path: Path) -> None:
    path = huggingface.rewrite(directory(tmp_path, "olmoe"), clip_qkv=8.0)
    refused(path, r"clip_qkv: expected none \(transformers reads it for olmoe, .*\), found 8.0")


def test_what_only_training_reads_changes_nothing(tmp_path: Path) -> None:
    path = directory(tmp_path, "mixtral")
    before = HuggingFaceSource(path).hyperparameters
    noisy = huggingface.rewrite(path, router_jitter_noise=0.5, router_aux_loss_coef=0.5, output_router_logits=True)
    source = HuggingFaceSource(noisy)
    assert source.hyperparameters == before
    assert TransformersOracle(source).logits(TOKENS).shape == (1, 9, 11)


def test_one_expert_is_no_mixture(tmp_path: Path) -> None:
    path = directory(tmp_path, "mixtral", num_local_experts=1, num_experts_per_tok=1)
    refused(path, "num_local_experts: expected at least 2 experts, found 1")


@pytest.mark.parametrize("family", FAMILIES)
def test_an_expert_that_is_stored_twice_is_refused(tmp_path: Path, family: str) -> None:
    path = fused(directory(tmp_path, family), family, keep=True)
    refused(path, r"layers.0.feed_forward.experts.0.w\d.weight: expected one such tensor, found .* and .*")


@pytest.mark.parametrize("family", FAMILIES)
def test_a_missing_expert_is_named(tmp_path: Path, family: str) -> None:
    path, (place, gate, *_) = directory(tmp_path, family), NAMES[family]
    weights = load_file(path / "model.safetensors")
    del weights[f"model.layers.2.{place}.3.{gate}.weight"]
    save_file(weights, path / "model.safetensors", {"format": "pt"})
    refused(path, r"layers.2.feed_forward.experts.3.w1.weight: expected \(\d, 12\), found no such tensor")


def test_fused_experts_must_have_three_axes(tmp_path: Path) -> None:
    path = fused(directory(tmp_path, "olmoe"), "olmoe")
    weights = load_file(path / "model.safetensors")
    weights["model.layers.0.mlp.experts.gate_up_proj"] = torch.zeros(4, 15, 12)
    save_file(weights, path / "model.safetensors", {"format": "pt"})
    refused(
        path, r"gate_up_proj: expected \(experts, rows, columns\), with rows for each matrix, found \(4, 15, 12\)"
    )


def test_names_of_transformers_model() -> None:
    prefix = "layers.3.feed_forward"
    for family in FAMILIES:
        for matrix, theirs in (("w1", "gate_up_proj"), ("w2", "down_proj"), ("w3", "gate_up_proj")):
            name = f"{prefix}.experts.7.{matrix}.weight"
            assert transformers_name(name, family) == f"model.layers.3.mlp.experts.{theirs}"
        assert transformers_name(f"{prefix}.router.weight", family) == "model.layers.3.mlp.gate.weight"
