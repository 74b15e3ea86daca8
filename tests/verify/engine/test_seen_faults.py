"""Faults of engines that passed before every window was judged, in each kind of activations."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from helpers.defects.engine import Patch
from helpers.engine_trials import MODEL, Bench
from helpers.engines import WITHOUT_WARNINGS, library
from helpers.faulty_engines import FLOAT_FAULTS, INT8_FAULTS
from helpers.healthy_engines import HEALTHY

import verify
from verify.checks.result import CheckResult
from verify.engine import trial
from verify.engine.command import Engine
from verify.evidence import Evidence, Window

pytestmark = pytest.mark.slow

LENGTH = MODEL.max_seq_len
FAULTS = {"fp32": FLOAT_FAULTS, "q8": INT8_FAULTS}


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Objects of what has no mistake."""
    return tmp_path_factory.mktemp("objects")


@pytest.fixture(scope="module", params=["fp32", "q8_0"])
def bench(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Bench:
    return Bench(tmp_path_factory.mktemp("bench"), request.param)


@pytest.fixture(autouse=True)
def without_hints(monkeypatch: pytest.MonkeyPatch) -> None:
    """The search for a mistake's name and place takes longer than all trials together, and is tested elsewhere."""
    monkeypatch.setattr(trial, "find_hint", lambda *_: None)
    monkeypatch.setattr(trial, "places_of", lambda *_: ())


def build(bench: Bench, directory: Path, kept: Path, patch: Patch | None) -> Engine:
    made = library(directory / "engine", kept, patch, activations=bench.activations, flags=WITHOUT_WARNINGS)
    return Engine(made, activations=bench.activations)


def windows(count: int = 3, length: int = LENGTH) -> list[Window]:
    rng = np.random.default_rng(1)
    return [Window(rng.integers(0, MODEL.vocab_size - 1, length), "random") for _ in range(count)]


def judged(bench: Bench, engine: Engine, of: list[Window]) -> CheckResult:
    return bench.judge(engine, of).verdict()


def test_a_healthy_engine_passes(bench: Bench, tmp_path: Path, kept: Path) -> None:
    found = judged(bench, build(bench, tmp_path, kept, None), windows())
    assert found.status == "pass", found.detail


@pytest.mark.parametrize("name", ["-O3 -march=native -ffast-math", "weights dequantized, sums of floats"])
def test_a_healthy_engine_with_other_roundings_passes(bench: Bench, tmp_path: Path, kept: Path, name: str) -> None:
    found = bench.judge(build(bench, tmp_path, kept, HEALTHY[name]), windows())
    assert found.verdict().status == "pass", found.verdict().detail
    if bench.activations == "q8":
        assert found.report.same_bits < found.report.logits


# the fault -> words of the reason, of the window that reaches it
BEYOND = {
    "everything forgotten at position 64": "first at window 0, position 64",
    "RoPE stands still from position 48 on": "first at window 0, position 49",
    "NaN for one token": "not finite",
    "one token embedded as its neighbour": "first at window 0",
    "the second sequence goes on where the first ended": "in one process",
}


@pytest.mark.parametrize("name", BEYOND)
def test_a_fault_is_seen_by_a_window_that_reaches_it(bench: Bench, tmp_path: Path, kept: Path, name: str) -> None:
    engine = build(bench, tmp_path, kept, FAULTS[bench.activations][name])
    found = judged(bench, engine, windows())
    assert found.status == "fail"
    if name != "the second sequence goes on where the first ended":
        assert BEYOND[name] in found.detail
    if name == "everything forgotten at position 64":
        assert judged(bench, engine, windows(length=64)).status == "pass"


def test_a_rare_token_embedded_as_zero_is_seen_where_it_stands(bench: Bench, tmp_path: Path, kept: Path) -> None:
    engine = build(bench, tmp_path, kept, FLOAT_FAULTS["a rare token embedded as zero"])
    # no random window of this test has it
    assert judged(bench, engine, windows()).status == "pass"
    (rare,) = windows(1)
    rare.tokens[70] = MODEL.vocab_size - 1
    found = judged(bench, engine, [*windows(), rare])
    assert found.status == "fail"
    assert "first at window 3, position 70" in found.detail


# what an engine does with its second sequence: one that no repetition shows, and one that it does
SECOND = {
    "second sequence in one process gets other logits than in a process of its own, by up to 0.5 (": (
        "static int begun; begun += pos == 0; if (begun == 2) t->logits[0] += 0.5f; return t->logits;"
    ),
    "runs again after the second sequence in one process gets other logits, by up to 0.5, but": (
        "static int begun; begun += pos == 0; if (begun == 3) t->logits[0] += 0.5f; return t->logits;"
    ),
}


@pytest.mark.parametrize("reason", SECOND)
def test_an_engine_whose_second_sequence_is_wrong_fails(
    bench: Bench, tmp_path: Path, kept: Path, reason: str
) -> None:
    engine = build(bench, tmp_path, kept, Patch((("return t->logits;", SECOND[reason]),)))
    assert judged(bench, engine, windows(3)).status == "fail"
    assert reason in judged(bench, engine, windows(3)).detail


def test_an_engine_that_knows_a_window_fails_on_another(bench: Bench, tmp_path: Path, kept: Path) -> None:
    known, other, third = windows(3)
    change = f"static int known; if (pos == 0) known = token == {known.tokens[0]}; if (!known) t->logits[1] = 1.0f;"
    engine = build(bench, tmp_path, kept, Patch((("return t->logits;", f"{change} return t->logits;"),)))
    assert known.tokens[0] not in (other.tokens[0], third.tokens[0])
    assert judged(bench, engine, [known]).status == "pass"
    assert judged(bench, engine, [known, other, third]).status == "fail"


def test_a_verdict_says_how_many_sequences_a_process_ran(bench: Bench, tmp_path: Path, kept: Path) -> None:
    engine = build(bench, tmp_path, kept, FAULTS[bench.activations]["NaN for one token"])
    evidence = Evidence(depth="quick", windows=2, length=32)
    report = verify.verify(
        bench.source, bench.file, engine=build(bench, tmp_path / "2", kept, None), evidence=evidence
    )
    assert report.engine is not None
    assert report.engine.sequences_per_process == 3
    assert report.to_dict()["engine"]["sequences_per_process"] == 3
    # the fixed window of ids in order has token 7
    failing = verify.verify(bench.source, bench.file, engine=engine, evidence=evidence)
    (check,) = (check for check in failing.checks if check.name == "engine")
    assert check.status == "fail"
    assert "logits is not finite" in check.detail or "logits are not finite" in check.detail
