"""Models larger than memory: gone through in parts, with the same report, and told beforehand."""

from __future__ import annotations

import dataclasses
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers import huggingface
from helpers.checkpoints import save, state_dict
from helpers.command_line import refused, run, run_on_terminal
from helpers.engines import library
from helpers.healthy_engines import HEALTHY
from helpers.models import arrays, config, hyperparameters

import exporter
import verify
from verify.engine.command import Engine
from verify.engine.probes import PROBES
from verify.engine.trial import drawn_positions
from verify.errors import CannotJudgeError
from verify.evidence import Evidence
from verify.evidence.depth import DEPTHS
from verify.oracle import expected
from verify.oracle.int8_noise import TELLING, int8_spread
from verify.oracle.int8_probes import probe_hazard
from verify.run import memory
from verify.run.engine_memory import memory_of_trial
from verify.run.memory import Plan, plan, predicted
from verify.run.work import Sizes, Work
from verify.sources.llama2c import Llama2cSource
from verify.sources.shards import Shards

# standard depth, in windows that take no time
SHORT = dataclasses.replace(DEPTHS["standard"], windows=2, length=48)
EVIDENCE = Evidence(depth="quick", windows=2, length=16)


def report(source: Path, file: Path, limit: int | None) -> dict[str, Any]:
    found = json.loads(verify.verify(source, file, evidence=EVIDENCE, memory=limit).to_json())
    del found["digest"]
    of_memory = found["environment"].pop("memory", None)
    if limit is None:
        assert of_memory is None
    else:
        assert 0 < of_memory["peak"] <= of_memory["predicted"] <= limit
    return found


@pytest.mark.parametrize("kind", ["huggingface", "llama2c"])
def test_a_limit_changes_nothing_in_the_report(tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if kind == "huggingface":
        source = huggingface.save(tmp_path / "model", huggingface.model())
    else:
        source = save(tmp_path, state_dict())
    file = tmp_path / "model.bin"
    exporter.export(exporter.open_checkpoint(source), file, format="v3", storage="q8_0", group_size=8)
    at_ease = report(source, file, None)
    assert at_ease["verdict"] == "pass"
    room = 8 << 30
    assert report(source, file, room) == at_ease
    # a model for which only the last of the plans is small enough
    plans: list[Plan] = []

    def least(work: Work, threads: int, limit: int | None) -> Plan:
        made = plan(work, threads, limit)
        plans.append(dataclasses.replace(made, streamed=work.huggingface, engines=1, walks=1, cache=0))
        return plans[-1]

    monkeypatch.setattr("verify.run.cost.plan", least)
    monkeypatch.setattr("verify.run.subjects.mapped", lambda *_: True)
    assert report(source, file, room) == at_ease
    assert plans[0].streamed == (kind == "huggingface")


def test_blocks_of_rows_change_no_number(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source, file = save(tmp_path, state_dict()), tmp_path / "model.bin"
    exporter.export(exporter.open_checkpoint(source), file, format="v2", group_size=8)
    whole = report(source, file, None)
    monkeypatch.setattr(expected, "_BLOCK", 100)
    in_blocks = report(source, file, None)
    for one, other in zip(whole["tensors"], in_blocks["tensors"], strict=True):
        # sums of squares are added up in another order
        for key in ("rms_error", "snr_db"):
            before, after = one.pop(key), other.pop(key)
            assert before == after or before == pytest.approx(after, rel=1e-12)
        assert one == other
    assert whole["checks"] == in_blocks["checks"]


@pytest.mark.parametrize(
    ("kind", "storage"), [("huggingface", "q8_0"), ("huggingface", "source"), ("llama2c", "q8_0")]
)
def test_as_many_bytes_are_read_as_was_told(
    tmp_path: Path, kind: str, storage: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Asked of the source by those who compute, whatever the disk made of it."""
    hf = kind == "huggingface"
    source = huggingface.save(tmp_path / "model", huggingface.model()) if hf else save(tmp_path, state_dict())
    file = tmp_path / "model.bin"
    exporter.export(exporter.open_checkpoint(source), file, format="v3", storage=storage, group_size=8)
    monkeypatch.setattr("verify.run.cost.plan", lambda *_: Plan(1 << 40, hf, 1, 1, 0, 0))
    asked: list[int] = []
    owner, name = (Shards, "read") if hf else (Llama2cSource, "tensor")
    read = getattr(owner, name)

    def counted(self: Any, which: str) -> torch.Tensor:
        tensor: torch.Tensor = read(self, which)
        asked.append(tensor.nbytes)
        return tensor

    monkeypatch.setattr(owner, name, counted)
    for evidence in (EVIDENCE, dataclasses.replace(EVIDENCE, depth="full", windows=3)):
        asked.clear()
        found = verify.verify(source, file, evidence=evidence, memory=1 << 40).environment["memory"]
        assert 0.9 * found["reads_predicted"] < sum(asked) <= found["reads_predicted"]


def test_a_verdict_that_only_fits_without_the_long_window_goes_without(tmp_path: Path) -> None:
    model = config(vocab_size=40, max_seq_len=1200, dim=32, hidden_dim=16, n_layers=1, n_heads=16, n_kv_heads=1)
    source, file = tmp_path / "source.bin", tmp_path / "model.bin"
    for path in (source, file):
        exporter.export(exporter.Checkpoint.from_arrays(model, arrays(model)), path, format="v3")
    told: list[int] = []

    def few(work: Work, threads: int, limit: int | None) -> Plan:
        told.append(max(shape.length for shape in work.shapes))
        if told[-1] > SHORT.length:
            raise CannotJudgeError("memory: expected at least more")
        return plan(work, threads, limit)

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr("verify.run.cost.plan", few)
        patched.setattr("verify.evidence.depth.DEPTHS", {**DEPTHS, "standard": SHORT})
        report = verify.verify(source, file, memory=64 << 30)
    assert told == [1024, 48]
    assert report.coverage is not None
    assert report.coverage.positions == 48


def test_a_file_of_another_shape_fails_however_little_memory_there_is(tmp_path: Path) -> None:
    source = huggingface.save(tmp_path / "model", huggingface.model())
    file = tmp_path / "model.bin"
    exporter.export(exporter.open_checkpoint(save(tmp_path, state_dict())), file, format="v1")
    announced: list[str] = []
    found = verify.verify(source, file, evidence=EVIDENCE, memory=1, announce=announced.append)
    assert (found.checks[0].name, found.checks[0].status) == ("config", "fail")
    assert {check.status for check in found.checks[1:]} == {"skipped"}
    assert "memory" not in found.environment
    assert len(announced) == 1


# where logits, activations and attention's scores take the most; the length of a window
WIDE = [
    ({"vocab_size": 40_000, "max_seq_len": 64}, 64),
    ({"dim": 512, "hidden_dim": 4096, "n_heads": 8, "max_seq_len": 512}, 512),
    ({"n_heads": 16, "max_seq_len": 1024}, 1024),
]


@pytest.mark.parametrize(("sizes", "length"), WIDE)
def test_noise_of_an_engine_with_int8_activations_takes_the_predicted_memory(
    sizes: dict[str, int], length: int
) -> None:
    """Measured: of the noise of a window and of probes, the larger one."""
    model = config(**{"dim": 32, "hidden_dim": 64, "n_heads": 4, "n_kv_heads": 2, "vocab_size": 500, **sizes})
    held = {name: torch.from_numpy(array) for name, array in arrays(model).items()}
    hyper = hyperparameters(model)
    window = torch.arange(drawn_positions(hyper, length, TELLING)) % 500
    probes = torch.zeros((PROBES, 2), dtype=torch.int64)
    taken = []
    for noise in (
        lambda: int8_spread(hyper, held.__getitem__, lambda _name: 8, window, TELLING, seed=0),
        lambda: probe_hazard(hyper, held.__getitem__, lambda _name: 8, probes, 1.0, seed=0),
    ):
        memory.give_back()
        before, watch = memory._anonymous(), memory.Watch()
        with watch.watching():
            kept = noise()
        taken.append(watch.taken.peak - before)
        del kept
    told = memory_of_trial(hyper, length, Sizes.of(hyper, length))
    assert 0.5 * told <= max(taken) <= told


@pytest.mark.slow
def test_what_an_int8_engine_costs_is_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As the plan and the bytes that are read show, beside those of a verdict without an engine."""
    source, file = save(tmp_path, state_dict()), tmp_path / "model.bin"
    exporter.export(exporter.open_checkpoint(source), file, format="v2", group_size=8)
    kept = tmp_path / "objects"
    kept.mkdir()
    other = library(tmp_path / "engine", kept, HEALTHY["groups from the last to the first"], activations="q8")
    works: list[Work] = []

    def frugal(work: Work, *_: object) -> Plan:
        works.append(work)
        return Plan(1 << 40, False, 1, 1, 0, 0)

    monkeypatch.setattr("verify.run.cost.plan", frugal)
    asked: list[int] = []
    read = Llama2cSource.tensor

    def counted(self: Llama2cSource, which: str) -> torch.Tensor:
        tensor = read(self, which)
        asked.append(tensor.nbytes)
        return tensor

    monkeypatch.setattr(Llama2cSource, "tensor", counted)
    told: list[int] = []
    for engine in (None, Engine(other, activations="q8")):
        asked.clear()
        report = verify.verify(source, file, evidence=EVIDENCE, memory=1 << 40, engine=engine)
        assert report.verdict == "pass"
        told.append(report.environment["memory"]["reads_predicted"])
        assert sum(asked) <= told[-1]
    # what an engine costs is more than what was told without one
    assert told[0] < sum(asked)
    assert [work.int8_engine for work in works] == [False, True]
    assert predicted(works[0], memory.AT_EASE) <= predicted(works[1], memory.AT_EASE)


@pytest.mark.slow
def test_the_command_line_tells_what_it_expects_and_refuses_what_cannot_be(tmp_path: Path) -> None:
    source, file = save(tmp_path, state_dict()), tmp_path / "model.bin"
    exporter.export(exporter.open_checkpoint(source), file, format="v0")
    said = run_on_terminal("verify", source, file, "--depth", "quick", "--memory", "8GiB")
    assert "MiB of memory expected (" in said
    assert "GB to read, less what the system has cached" in said
    assert "MiB of memory taken, " in said
    before = sorted(tmp_path.iterdir())
    refused(run("verify", source, file, "--memory", "10MB"), "memory: expected at least", "found 10 MiB")
    refused(run("release", source, tmp_path / "r.bin", "--format", "v0", "--memory", "10MB"), "memory: expected")
    refused(run("verify", source, file, "--memory", "lots"), "--memory: expected a size", "found 'lots'")
    assert sorted(tmp_path.iterdir()) == before


_FAULTS = """
import resource, sys
import numpy as np
from verify.run.memory import give_back, keep_freed_memory
if sys.argv[1] == "keep":
    keep_freed_memory()
def taken():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    blocks = [np.zeros(1 << 20) + 1.0 for _ in range(4)]
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
taken()
again = sum(taken() for _ in range(5))
give_back()
print(again, taken())
"""


def test_blocks_that_are_freed_are_used_again_until_they_are_given_back() -> None:
    """Counted: pages that the system hands out, of which 4 blocks of 8 MiB have 8,192."""
    found = {}
    for how in ("keep", "leave"):
        command = [sys.executable, "-c", _FAULTS, how]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        found[how] = tuple(map(int, done.stdout.split()))
    assert found["keep"][0] < found["leave"][0] / 10
    assert found["keep"][1] > 10 * found["keep"][0] / 5
