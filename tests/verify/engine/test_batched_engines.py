"""An engine that computes a whole sequence at once adds up differently for another length, which is no mistake."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers.engine_trials import MODEL, Bench
from numpy.typing import NDArray

from verify.checks.result import CheckResult
from verify.engine.command import Engine
from verify.evidence import Window
from verify.oracle import llama


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Bench:
    return Bench(tmp_path_factory.mktemp("bench"), "fp32")


def judged(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, *, left_over: float = 0.0, noise: float = 0.0
) -> CheckResult:
    """Try an engine whose last bits depend on the length, and that may keep something of sequences before."""
    rng = np.random.default_rng(3)

    def logits(
        _self: Engine, _file: str, sequences: Sequence[NDArray[np.int64]], _vocab_size: int
    ) -> list[NDArray[np.float32]]:
        made, before = [], 0
        for tokens in sequences:
            right = llama.logits(bench.hyper, bench.load, torch.from_numpy(tokens.copy())[None]).numpy()[0]
            found = right * (1 + len(tokens) * 2.0**-28) + left_over * before
            made.append((found + noise * rng.normal(size=found.shape)).astype(np.float32))
            before += int(tokens.sum())
        return made

    monkeypatch.setattr(Engine, "logits", logits)
    monkeypatch.setattr(Engine, "digest", lambda *_: "0" * 64)
    tokens = np.random.default_rng(1).integers(0, MODEL.vocab_size, (2, 64))
    return bench.judge(Engine(Path("x")), [Window(row, "random") for row in tokens]).verdict()


def test_an_engine_whose_sums_depend_on_the_length_passes(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    found = judged(bench, monkeypatch)
    assert found.status == "pass", found.detail


@pytest.mark.parametrize(
    ("mistake", "words"),
    [
        ({"left_over": 1e-3}, "(do others leave something behind, such as a cache that is not cleared?)"),
        ({"noise": 1e-2}, "the same tokens get other logits each time"),
    ],
)
def test_state_that_is_left_over_and_randomness_fail(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, mistake: dict[str, float], words: str
) -> None:
    found = judged(bench, monkeypatch, **mistake)
    assert found.status == "fail"
    assert words in found.detail
