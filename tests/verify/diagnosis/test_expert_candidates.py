"""Mistakes with experts are named from the first operation that is wrong."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from helpers.models import arrays, config, hyperparameters

import exporter
import reader_c
from exporter.switches import LayerKind
from verify.diagnosis import Diagnosis, diagnose_operation
from verify.diagnosis.expert_orders import of_layer, of_matrix, other_experts
from verify.operations.recompute import Recompute
from verify.run.traced_windows import stages

MODEL = config(
    n_layers=3,
    n_experts=12,
    n_active_experts=2,
    expert_hidden_dim=20,
    layers=(LayerKind(experts=True), LayerKind(), LayerKind(experts=True)),
)
Weights = dict[str, np.ndarray[Any, Any]]
FIRST = "layers.0.feed_forward."


def same(weights: Weights) -> Weights:
    return weights


def in_order(order: Callable[[int], int]) -> Callable[[Weights], Weights]:
    """Take expert order(e) in the place of e, in every layer."""

    def moved(weights: Weights) -> Weights:
        found = dict(weights)
        for name in weights:
            prefix, is_expert, rest = name.partition(".experts.")
            if is_expert:
                expert, matrix = rest.split(".", 1)
                found[name] = weights[f"{prefix}.experts.{order(int(expert))}.{matrix}"]
        return found

    return moved


def exchanged(weights: Weights) -> Weights:
    return {name: weights[of_matrix(name, w1="w3", w3="w1")] for name in weights}


def of_the_last(what: str) -> Callable[[Weights], Weights]:
    """Take the last layer's tensors for the first layer's."""
    return lambda weights: {
        name: weights[of_layer(name, 2) if name.startswith(FIRST) and what in name else name] for name in weights
    }


def diagnosed(path: Path, changes: dict[str, Any], wrong: Callable[[Weights], Weights]) -> tuple[str, Diagnosis]:
    """Run an engine with a mistake, and diagnose the first operation beyond its bound."""
    weights, file = arrays(MODEL), path / "model.bin"
    checkpoint = exporter.Checkpoint.from_arrays(dataclasses.replace(MODEL, **changes), wrong(weights))
    exporter.export(checkpoint, file, format="v3")
    tensors = {name: torch.from_numpy(array) for name, array in weights.items()}
    recompute = Recompute(hyperparameters(MODEL), tensors.__getitem__, lambda _name: None, "fp32", "mirror")
    tokens = torch.from_numpy(np.random.default_rng(0).integers(0, 29, (1, 30)))
    with reader_c.open(file) as model:
        for stage in stages(model, recompute, tokens):
            for judged in stage.judge(recompute):
                if not bool(((judged.out - judged.exact).abs() <= judged.bound).all()):
                    found = diagnose_operation(recompute, stage, judged.operation)
                    assert found is not None, judged.operation
                    return judged.operation, found
    raise AssertionError("every operation is within its bound")


@pytest.mark.parametrize(
    ("changes", "wrong", "operation", "name", "sentence"),
    [
        ({"experts_normalized": True}, same, "routed", "experts-normalized", "divides the shares of the chosen"),
        (
            {"n_active_experts": 1},
            same,
            "routed",
            "experts-chosen",
            "chooses 1 experts at each position instead of 2",
        ),
        (
            {"n_active_experts": 3},
            same,
            "routed",
            "experts-chosen",
            "chooses 3 experts at each position instead of 2",
        ),
        ({}, exchanged, "expert_gate", "gate-up-swapped", "swaps gate (w1) and up (w3)"),
        ({}, in_order(lambda e: (e + 1) % 12), "expert_gate", "experts-order", "the experts after instead"),
        ({}, in_order(lambda e: (e - 1) % 12), "expert_gate", "experts-order", "the experts before instead"),
        ({}, in_order(lambda e: 11 - e), "expert_gate", "experts-order", "the experts in reverse order instead"),
        ({}, in_order(lambda e: sorted(range(12), key=str)[e]), "expert_gate", "experts-order", "sorted as text"),
        ({}, in_order(lambda _e: 0), "expert_gate", "experts-order", "the first expert everywhere instead"),
        ({}, of_the_last("experts"), "expert_gate", "other-layer", "experts of layer 2 instead of those of 0"),
        ({}, of_the_last("router"), "router", "other-layer", "by layers.2.feed_forward.router.weight instead"),
        ({"activation": "gelu"}, same, "expert_gated", "activation", "computes gelu instead of silu"),
    ],
)
def test_each_mistake_is_named(
    tmp_path: Path,
    changes: dict[str, Any],
    wrong: Callable[[Weights], Weights],
    operation: str,
    name: str,
    sentence: str,
) -> None:
    where, found = diagnosed(tmp_path, changes, wrong)
    assert where == operation
    assert found.signature == name
    assert f"layer 0, {operation}: the engine " in found.sentence
    assert sentence in found.sentence


def test_orders_are_told_apart_and_two_experts_have_one_other_order() -> None:
    orders = dict(
        other_experts(
            hyperparameters(
                config(
                    n_experts=2,
                    n_active_experts=1,
                    expert_hidden_dim=4,
                    hidden_dim=4,
                    layers=(LayerKind(experts=True),) * 2,
                )
            )
        )
    )
    assert list(orders) == ["the experts after", "the first expert everywhere"]
    name = f"{FIRST}experts.1.w2.weight"
    assert [rename(name) for rename in orders.values()] == [name.replace("1.w2", "0.w2")] * 2
    assert orders["the experts after"]("norm.weight") == "norm.weight"
    assert of_matrix("layers.0.feed_forward.w1.weight", w1="w3") == "layers.0.feed_forward.w1.weight"
