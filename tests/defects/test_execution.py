"""What `execution` makes of logits that are healthy, not finite, missing or exact. Engines with mistakes in them are
in test_engine_defects.py."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from helpers.checkpoints import save, state_dict
from helpers.models import toy_file

import reader_c
from verify.checks.execution import Execution
from verify.oracle import llama
from verify.oracle.logit_sigma import logit_sigma
from verify.sources import Source, open_source

Logits = np.ndarray


@pytest.fixture
def source(tmp_path: Path) -> Source:
    return open_source(save(tmp_path, state_dict()))


def judge(source: Source, tokens: torch.Tensor, engine: Logits) -> Execution:
    clean = llama.logits(source.hyperparameters, source.tensor, tokens)
    sigma = logit_sigma(source.hyperparameters, source.tensor, tokens, seed=0)
    execution = Execution()
    execution.add(0, clean[0].numpy(), sigma[0].numpy(), engine.astype(np.float32))
    return execution


@pytest.mark.parametrize("arithmetic", ["mirror", "fast"])
def test_a_healthy_engine_passes(source: Source, tmp_path: Path, arithmetic: reader_c.Arithmetic) -> None:
    with reader_c.open(toy_file(tmp_path, "v0", tied=True)) as model:
        for seed in range(10):
            tokens = torch.from_numpy(np.random.default_rng(seed).integers(0, 29, (1, 33)))
            engine = model.forward(tokens[0].numpy(), arithmetic=arithmetic)
            result = judge(source, tokens, engine).verdict(arithmetic)
            assert result.status == "pass"
            assert {"window", "position", "index", "expected", "found"} == result.where.keys()


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
