"""Mistakes of an engine on a healthy file, seeded into the reference, and judged by `execution`.

The healthy engine is judged beside them, so that a limit too wide or too narrow shows.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers.checkpoints import save, state_dict
from helpers.models import toy_file

import reader_c
from verify.checks.execution import LIMIT_SIGMAS, Execution, noise_sigma
from verify.oracle import llama
from verify.sources import Hyperparameters, Source, open_source

Logits = np.ndarray


@pytest.fixture
def source(tmp_path: Path) -> Source:
    return open_source(save(tmp_path, state_dict()))


def run(source: Source, tokens: torch.Tensor, **changes: object) -> Logits:
    hyper: Hyperparameters = dataclasses.replace(source.hyperparameters, **changes)  # type: ignore[arg-type]
    return llama.logits(hyper, source.tensor, tokens)[0].numpy()


def with_weight(source: Source, name: str, function: Callable[[torch.Tensor], torch.Tensor]) -> llama.Load:
    def load(asked: str) -> torch.Tensor:
        tensor = source.tensor(asked)
        return function(tensor) if asked == name else tensor

    return load


def shifted_kv_heads(w: torch.Tensor) -> torch.Tensor:
    return torch.roll(w, 8, dims=0)


def last_group_dropped(w: torch.Tensor) -> torch.Tensor:
    w[:, -8:] = 0
    return w


ENGINES: dict[str, Callable[[Source, torch.Tensor], Logits]] = {
    "eps 1e-6": lambda s, t: run(s, t, norm_eps=1e-6),
    "theta 1e5": lambda s, t: run(s, t, rope_theta=1e5),
    "kv head off by one": lambda s, t: llama.logits(
        s.hyperparameters, with_weight(s, "layers.0.attention.wv.weight", shifted_kv_heads), t
    )[0].numpy(),
    "last group of each row dropped": lambda s, t: llama.logits(
        s.hyperparameters, with_weight(s, "layers.1.feed_forward.w2.weight", last_group_dropped), t
    )[0].numpy(),
    "tied classifier on an untied model": lambda s, t: run(s, t, tied=True),
    "bfloat16 arithmetic": lambda s, t: llama.logits(
        s.hyperparameters, lambda name: s.tensor(name).bfloat16().float(), t
    )[0].numpy(),
    "logits of zeros": lambda s, t: np.zeros_like(run(s, t)),
    "logits of the position before": lambda s, t: np.roll(run(s, t), 1, axis=0),
}


def judge(source: Source, tokens: torch.Tensor, engine: Logits) -> Execution:
    clean = llama.logits(source.hyperparameters, source.tensor, tokens)
    sigma = noise_sigma(source.hyperparameters, source.tensor, tokens, seed=0)
    execution = Execution()
    execution.add(0, clean[0].numpy(), sigma[0].numpy(), engine.astype(np.float32))
    return execution


@pytest.mark.parametrize("defect", ENGINES)
def test_a_wrong_engine_fails_execution(source: Source, defect: str) -> None:
    tokens = torch.from_numpy(np.random.default_rng(0).integers(0, 29, (1, 33)))
    result = judge(source, tokens, ENGINES[defect](source, tokens)).verdict("mirror")
    assert result.status == "fail"
    assert result.observed is not None
    # far beyond, so that the limit is no matter of taste
    assert result.observed > 4 * LIMIT_SIGMAS
    assert {"window", "position", "index", "expected", "found"} == result.where.keys()


@pytest.mark.parametrize("arithmetic", ["mirror", "fast"])
def test_a_healthy_engine_passes(source: Source, tmp_path: Path, arithmetic: reader_c.Arithmetic) -> None:
    with reader_c.open(toy_file(tmp_path, "v0")) as model:
        for seed in range(10):
            tokens = torch.from_numpy(np.random.default_rng(seed).integers(0, 29, (1, 33)))
            engine = model.forward(tokens[0].numpy(), arithmetic=arithmetic)
            result = judge(source, tokens, engine).verdict(arithmetic)
            assert result.status == "pass"


def test_a_nan_on_either_side_fails() -> None:
    fine = np.zeros((2, 3))
    for broken in (0, 1, 2):
        sides = [fine.copy(), np.ones((2, 3)), fine.copy()]
        sides[broken][1, 2] = np.nan
        execution = Execution()
        execution.add(0, sides[0], sides[1], sides[2].astype(np.float32))
        result = execution.verdict("mirror")
        assert result.status == "fail"
        assert (result.where["position"], result.where["index"]) == (1, 2)


def test_nothing_compared_is_skipped_and_mismatched_shapes_are_an_error() -> None:
    assert Execution().verdict("mirror").status == "skipped"
    with pytest.raises(ValueError, match="logits"):
        Execution().add(0, np.zeros((2, 3)), np.ones((2, 3)), np.zeros((2, 1), np.float32))
    with pytest.raises(ValueError, match="logits"):
        Execution().add(0, np.zeros((0, 3)), np.ones((0, 3)), np.zeros((0, 3), np.float32))


def test_where_noise_moves_nothing_only_equality_passes() -> None:
    for engine, status in ((np.zeros((2, 3)), "pass"), (np.full((2, 3), 1e-30), "fail")):
        execution = Execution()
        execution.add(0, np.zeros((2, 3)), np.zeros((2, 3)), engine.astype(np.float32))
        assert execution.verdict("mirror").status == status
