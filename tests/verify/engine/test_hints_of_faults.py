"""Faulty engines, compiled from the C reader's source with one change each, get the name of that change or none."""

from __future__ import annotations

from pathlib import Path

import pytest
from helpers.engine_trials import Bench
from helpers.engines import WITHOUT_WARNINGS, library
from helpers.faulty_engines import FLOAT_FAULTS

from verify.engine.command import Engine

NAMES = {
    "theta 20000 for 10000": "rope-theta",
    "theta 10001 for 10000": "rope-theta",
    "eps 2e-5 for 1e-5": "norm-eps",
    "SiLU 3% too large": "activation-scaled",
    "SiLU 0.1% too large": "activation-scaled",
    "scores times 1.1": "scores-scaled",
    "scores times 1.0001": "scores-scaled",
    "final norm's weights ignored": "norm-weights",
    "mean of squares over dim - 1": "norm-mean",
    "a residual skipped in layer 1": "residual",
    "feed-forward before attention": "halves-swapped",
    "layers in reverse order": "matrices-reversed",
    "biases of keys and values exchanged": "biases-swapped",
    "keys in half precision": "cache-narrowed",
    "everything forgotten at position 64": "stale-cache",
    "two logits exchanged": "logits-exchanged",
    "logits in bfloat16": "logits-narrowed",
    "weights in bfloat16": "narrowed",
    "softmax by a fast exponential": "",
    "sums in bfloat16": "",
    "logits of zeros": "",
}


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Bench:
    return Bench(tmp_path_factory.mktemp("bench"), "fp32")


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("objects")


@pytest.mark.slow
@pytest.mark.parametrize("fault", NAMES)
def test_a_fault_gets_its_own_name(fault: str, bench: Bench, kept: Path, tmp_path: Path) -> None:
    built = library(tmp_path / "engine", kept, FLOAT_FAULTS[fault], activations="fp32", flags=WITHOUT_WARNINGS)
    trial = bench.judge(Engine(built, activations="fp32"), bench.windows("standard"))
    assert trial.verdict().status == "fail"
    assert trial.report.hint_name == NAMES[fault]
