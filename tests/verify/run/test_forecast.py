"""The predicted work of each stage is what its pulses count, roughly, for every kind of file."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import exporter
import verify
from verify.demo import CHECKPOINT
from verify.evidence import Evidence, Window
from verify.oracle import multiplications
from verify.run.forecast import Forecast, measured_rate, seconds_of
from verify.run.progress import Meter
from verify.sources import open_source
from verify.system.pulse import READ, heard_by


class Counted:
    """Work of each stage, as it was predicted and as its pulses counted it."""

    def __init__(self) -> None:
        self.predicted, self.heard = defaultdict[str, float](float), defaultdict[str, float](float)


@pytest.fixture
def counted(monkeypatch: pytest.MonkeyPatch) -> Counted:
    found = Counted()

    @contextmanager
    def part(self: Any, work: float) -> Iterator[None]:
        def hear(more: float) -> None:
            found.heard[self._stage] += more

        found.predicted[self._stage] += work
        with heard_by(hear):
            yield

    monkeypatch.setattr(Meter, "part", part)
    return found


@pytest.mark.parametrize("options", [{"format": "v2"}, {"format": "v3"}, {"format": "v3", "storage": "bf16"}])
def test_the_pulses_of_a_stage_are_its_prediction_within_a_factor_of_two(
    tmp_path: Path, counted: Counted, options: dict[str, Any]
) -> None:
    summary = exporter.export(exporter.open_checkpoint(CHECKPOINT), tmp_path / "model.bin", **options)
    plans: list[dict[str, float]] = []
    report = verify.verify(
        CHECKPOINT,
        summary.path,
        evidence=Evidence(depth="quick", windows=2, length=32),
        forecast=lambda seconds: plans.append(dict(seconds)),
    )
    assert report.passed
    (plan,) = plans
    lossy = options != {"format": "v3"}
    words = ["tokenizer"] if options["format"] == "v3" else []
    assert list(plan) == [*words, "tensors", "windows", "operations", "storage", "report"]
    for stage in (*words, "tensors", "windows", "operations", *(["storage"] if lossy else [])):
        assert 0.5 < counted.heard[stage] / counted.predicted[stage] < 2, stage
    assert (plan["storage"] > 0) == lossy


@pytest.mark.parametrize("storage", ["source", "bf16"])
def test_a_source_that_transformers_runs_is_predicted_too(tmp_path: Path, counted: Counted, storage: str) -> None:
    source = tmp_path / "source"
    exporter.export(exporter.open_checkpoint(CHECKPOINT), source, format="hf")
    summary = exporter.export(exporter.open_checkpoint(source), tmp_path / "model.bin", format="v3", storage=storage)
    report = verify.verify(source, summary.path, evidence=Evidence(depth="quick", windows=2, length=32))
    assert report.passed
    for stage in ("tensors", "windows", "operations", *(["storage"] if storage == "bf16" else [])):
        assert 0.5 < counted.heard[stage] / counted.predicted[stage] < 2, stage


def test_the_first_window_of_a_length_compares_the_references_by_one_pass_more() -> None:
    hyper = open_source(CHECKPOINT).hyperparameters
    windows = [Window(np.zeros(length, np.int64), "random") for length in (32, 32, 16, 16)]
    forecast = Forecast(hyper, by_others=True, lossy=False, q8=False)
    first, second, third, fourth = forecast.of_windows(windows, [[0], [1], [2], [3]])
    # the first of all also loads the weights
    assert first - second == pytest.approx(multiplications.of_pass(hyper, 1, 32) + forecast.weights * READ)
    assert third - fourth == pytest.approx(multiplications.of_pass(hyper, 1, 16))


def test_a_faster_machine_takes_less_time() -> None:
    slow, fast = (seconds_of({"windows": 3e10}, rate) for rate in (1e9, 2e9))
    assert slow["windows"] == 30
    assert fast == {"windows": 15, "report": slow["report"] / 2}
    assert measured_rate() > 0
