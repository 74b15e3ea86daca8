"""Mistakes with experts in a file: each is found by the right check, and named."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers import huggingface
from helpers.family_models import family_model

import exporter
import verify

Weights = dict[str, np.ndarray[Any, Any]]
Change = Callable[[Weights], Weights]
SIZES: dict[str, Any] = {
    **{"hidden_size": 24, "intermediate_size": 20, "num_hidden_layers": 3, "num_attention_heads": 2},
    **{"num_key_value_heads": 1, "vocab_size": 31, "max_position_embeddings": 24, "pad_token_id": None},
    **{"rms_norm_eps": 2.0**-17, "head_dim": 8, "num_experts": 6, "num_experts_per_tok": 2},
    **{"moe_intermediate_size": 16, "norm_topk_prob": True, "mlp_only_layers": [1]},
}


def renamed(rename: Callable[[str], str]) -> Change:
    """Write other tensors of the source under their names."""
    return lambda weights: {name: weights[rename(name)] for name in weights}


def swapped(first: str, second: str, within: str = ".experts.") -> Change:
    def rename(name: str) -> str:
        if within not in name:
            return name
        if first in name:
            return name.replace(first, second)
        return name.replace(second, first)

    return renamed(rename)


def interleaved(weights: Weights) -> Weights:
    """Split gate and up from a fused matrix by even and odd rows."""
    found = dict(weights)
    for gate in (name for name in weights if name.endswith(".w1.weight") and ".experts." in name):
        up = gate.replace(".w1.", ".w3.")
        fused = np.concatenate((weights[gate], weights[up]))
        found[gate], found[up] = fused[::2].copy(), fused[1::2].copy()
    return found


def one_weight(weights: Weights) -> Weights:
    name = "layers.2.feed_forward.experts.4.w2.weight"
    moved = weights[name].copy()
    moved[3, 5] += 0.25
    return {**weights, name: moved}


def reversed_router(weights: Weights) -> Weights:
    name = "layers.0.feed_forward.router.weight"
    return {**weights, name: weights[name][::-1].copy()}


def same(weights: Weights) -> Weights:
    return weights


DEFECTS: dict[str, tuple[dict[str, Any], Change, str, str]] = {
    "two experts": ({}, swapped(".experts.0.", ".experts.1."), "tensors", "experts-in-another-order"),
    "gate and up": ({}, swapped(".w1.", ".w3."), "tensors", "tensors-swapped"),
    "the split": ({}, interleaved, "tensors", "gate-up-interleaved"),
    "two routers": ({}, swapped("layers.0.", "layers.2.", ".router."), "tensors", "layers-swapped"),
    "two layers": ({}, swapped("layers.0.", "layers.2."), "tensors", "layers-swapped"),
    "a router's rows": ({}, reversed_router, "tensors", "rows-reordered"),
    "one weight": ({}, one_weight, "tensors", "few-elements"),
    "shares": ({"experts_normalized": False}, same, "config", "experts-normalized"),
    "too many": ({"n_active_experts": 3}, same, "config", "experts-chosen"),
    "too few": ({"n_active_experts": 1}, same, "config", "experts-chosen"),
}


@cache
def source_of(directory: Path) -> exporter.Checkpoint:
    path = huggingface.save(directory / "source", family_model("qwen3_moe", SIZES, 3))
    return exporter.open_checkpoint(path)


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("experts")


@pytest.mark.slow
@pytest.mark.parametrize("storage", ["fp32", "q8_0"])
@pytest.mark.parametrize("defect", DEFECTS)
def test_each_defect_is_found_and_named(directory: Path, tmp_path: Path, defect: str, storage: str) -> None:
    changes, change, check, signature = DEFECTS[defect]
    source = source_of(directory)
    weights = change({name: np.array(source.load(name)) for name in source.names})
    made = exporter.Checkpoint.from_arrays(dataclasses.replace(source.config, **changes), weights)
    exporter.export(made, tmp_path / "model.bin", format="v3", storage=storage, group_size=8)
    report = verify.verify(directory / "source", tmp_path / "model.bin", depth="quick")
    failed = [one.name for one in report.checks if one.status == "fail"]
    assert failed[0] == check
    assert {"operations", "execution"} <= set(failed)
    assert report.diagnosis is not None
    assert report.diagnosis.signature == signature
