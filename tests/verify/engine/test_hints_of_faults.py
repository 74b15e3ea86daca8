"""Faulty engines, compiled from the C reader's source with one change each, get the name of that change or none."""

from __future__ import annotations

from pathlib import Path

import pytest
from helpers.engine_trials import Bench
from helpers.engines import WITHOUT_WARNINGS, library
from helpers.faulty_engines import FLOAT_FAULTS, INT8_FAULTS
from hypothesis import settings

from verify.engine import hint_general
from verify.engine.command import Engine

pytestmark = pytest.mark.usefixtures("remembered_references")

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


# With int8 activations: the reference rounds them, too, so that only what float32 rounding turns is left.
INT8_NAMES = {
    "final norm's weights ignored": "norm-weights",
    "a residual skipped in layer 1": "residual",
    "only the last 32 positions attended": "attention-window",
    "one token embedded as its neighbour": "one-embedding",
    "everything forgotten at position 64": "stale-cache",
    "RoPE stands still from position 48 on": "rope-position",
    "two logits exchanged": "logits-exchanged",
    "GELU for SiLU": "activation",
    "eps 1e-6 for 1e-5": "norm-eps",
    "theta 20000 for 10000": "rope-theta",
    "activations with a zero point of 1": "int8-rounding",
    "activations' scales in half precision": "int8-scales",
    "activations' scale of the group before": "int8-scales",
    "the last product of each group dropped": "int8-last-product",
    "float activations in wo": "int8-missing-before",
    "activations rounded down": "",
    "weights' scales of the next group": "",
}
ALL = [("fp32", fault) for fault in NAMES] + [("q8_0", fault) for fault in INT8_NAMES]
# every second one, unless the profile is `deep`: each takes seconds, and toys have most of the mistakes, too
CASES = ALL if settings().max_examples > 100 else ALL[::2]


@pytest.fixture(scope="module")
def benches(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Bench]:
    return {storage: Bench(tmp_path_factory.mktemp(storage), storage) for storage in ("fp32", "q8_0")}


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("objects")


@pytest.mark.slow
@pytest.mark.parametrize(("storage", "fault"), CASES)
def test_a_fault_gets_its_own_name(
    storage: str,
    fault: str,
    benches: dict[str, Bench],
    kept: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # with int8 activations a search through every operation takes half a minute
    if storage == "q8_0":
        monkeypatch.setattr(hint_general, "_MOST_WORK", 1e9)
    bench = benches[storage]
    (patch, name) = (
        (FLOAT_FAULTS[fault], NAMES[fault]) if storage == "fp32" else (INT8_FAULTS[fault], INT8_NAMES[fault])
    )
    built = library(tmp_path / "engine", kept, patch, activations=bench.activations, flags=WITHOUT_WARNINGS)
    trial = bench.judge(Engine(built, activations=bench.activations), bench.windows("standard"))
    assert trial.verdict().status == "fail"
    assert trial.report.hint_name == name
