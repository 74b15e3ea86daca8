"""The predicted work of each stage is what its pulses count, roughly, for every kind of file."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

import exporter
import verify
from verify.demo import CHECKPOINT
from verify.evidence import Evidence
from verify.run.forecast import measured_rate, seconds_of
from verify.run.progress import Meter
from verify.system.pulse import heard_by


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
    assert list(plan) == ["tensors", "windows", "operations", "storage", "report"]
    for stage in ("tensors", "windows", "operations", *(["storage"] if lossy else [])):
        assert 0.5 < counted.heard[stage] / counted.predicted[stage] < 2, stage
    assert (plan["storage"] > 0) == lossy


def test_a_faster_machine_takes_less_time() -> None:
    slow, fast = (seconds_of({"windows": 3e10}, rate) for rate in (1e9, 2e9))
    assert slow["windows"] == 30
    assert fast == {"windows": 15, "report": slow["report"] / 2}
    assert measured_rate() > 0
