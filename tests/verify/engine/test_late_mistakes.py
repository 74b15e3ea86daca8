"""An engine that is wrong at one position of a long window fails, wherever the position is, and it is named."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from helpers.models import arrays, config, hyperparameters, toy_file

import reader_c
from verify.checks.policy import DEFAULT_POLICY, load_policy
from verify.checks.result import CheckResult
from verify.engine import trial as module
from verify.engine.command import Engine
from verify.engine.sequences import Ran, Sequences
from verify.engine.trial import Trial
from verify.evidence import Window

LENGTH = 150
MODEL = config(max_seq_len=LENGTH)
PLACES = (0, 47, 48, 63, 64, 100, LENGTH - 1)


@pytest.fixture(autouse=True)
def without_processes(monkeypatch: pytest.MonkeyPatch) -> None:
    """No engine runs, and no mistake is searched or placed: that takes long."""
    monkeypatch.setattr(Engine, "digest", lambda *_: "0" * 64)
    monkeypatch.setattr(module, "find_hint", lambda *_: None)
    monkeypatch.setattr(module, "places_of", lambda *_: ())


def judged(
    path: Path, activations: Any, ours: np.ndarray, engine: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> CheckResult:
    """The verdict on an engine with these logits, where ours are the reader's and the reference's."""
    monkeypatch.setattr(Sequences, "run", lambda *_, **__: Ran(engine, None))
    monkeypatch.setattr(Sequences, "alone", lambda *_: engine)
    weights = {name: torch.from_numpy(array) for name, array in arrays(MODEL).items()}
    tokens = np.random.default_rng(1).integers(0, MODEL.vocab_size, LENGTH)
    with reader_c.open(path) as model:

        def probed(_sequences: Sequences, probes: list[np.ndarray]) -> list[np.ndarray]:
            """Answer probes as a healthy engine does: the mistake is at one position of the window."""
            return [model.forward(probe, activations="q8", arithmetic="mirror") for probe in probes]

        monkeypatch.setattr(Sequences, "together", probed)
        policy = load_policy(DEFAULT_POLICY, model.format)
        trial = Trial(
            Engine(Path("x"), activations=activations), model, hyperparameters(MODEL), weights.__getitem__, policy
        )
        trial.add(3, Window(tokens, "random"), ours.astype(np.float64), np.full(ours.shape, 1e-6), ours)
        return trial.verdict()


@pytest.mark.parametrize("activations", ["fp32", "q8"])
@pytest.mark.parametrize("place", PLACES)
def test_one_wrong_position_fails_wherever_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, activations: str, place: int
) -> None:
    path = toy_file(tmp_path, "v2", max_seq_len=LENGTH)
    ours = np.random.default_rng(0).standard_normal((LENGTH, MODEL.vocab_size)).astype(np.float32)
    assert judged(path, activations, ours, ours.copy(), monkeypatch).status == "pass"
    wrong = ours.copy()
    wrong[place, 5] += np.float32(50)
    found = judged(path, activations, ours, wrong, monkeypatch)
    assert found.status == "fail"
    assert found.where["first"] == {"window": 3, "position": place}
    assert f"first at window 3, position {place}" in found.detail
