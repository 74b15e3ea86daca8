"""A verdict in parts is the verdict: interrupted and gone on with, or done by other processes of which one dies."""

from __future__ import annotations

import dataclasses
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from helpers import huggingface
from helpers.checkpoints import save, state_dict
from helpers.command_line import refused, run, without_progress

import exporter
import verify
from verify.checks.execution import WorstLogit
from verify.checks.storage import HonestCost, honest_cost
from verify.errors import CannotJudgeError
from verify.evidence import Evidence
from verify.run.compared_windows import ComparedWindow, Comparer, FirstPositions
from verify.run.resume import EvidenceStore
from verify.run.traced_windows import Traced
from verify.run.worker import Job, Worker

pytestmark = pytest.mark.slow

EVIDENCE = Evidence(depth="standard", windows=3, length=24)


@pytest.fixture(scope="module", params=["huggingface", "llama2c"])
def case(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A source and a Q8_0 file of it."""
    directory = tmp_path_factory.mktemp("case")
    if request.param == "huggingface":
        source = huggingface.save(directory / "model", huggingface.model())
    else:
        source = save(directory, state_dict())
    file = directory / "model.bin"
    exporter.export(exporter.open_checkpoint(source), file, format="v3", storage="q8_0", group_size=8)
    return source, file


# what a process that began here inherits
MARK = ("TEST_PARTS_BY", str(os.getpid()))


@pytest.fixture(autouse=True)
def marked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(*MARK)


@pytest.fixture(autouse=True)
def small_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    """A part for each window, as large models have them."""
    monkeypatch.setattr("verify.run.cost._BATCH_ELEMENTS", (1, 1))


def judged(case: tuple[Path, Path], **options: Any) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(verify.verify(*case, evidence=EVIDENCE, **options).to_json())
    return found


def count_parts(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of the parts that are really done from now on."""
    done: list[str] = []
    compare, trace, price = Comparer._compare, Worker.trace, Worker.price

    def counting(self: Comparer, number: int, *rest: Any) -> ComparedWindow:
        done.append(f"compare {number}")
        return compare(self, number, *rest)

    def tracing(self: Worker, tasks: Any) -> Iterator[Traced]:
        for found in trace(self, tasks):
            done.append("trace")
            yield found

    def pricing(self: Worker, batches: Any) -> Iterator[HonestCost]:
        for found in price(self, batches):
            done.append("price")
            yield found

    monkeypatch.setattr(Comparer, "_compare", counting)
    monkeypatch.setattr(Worker, "trace", tracing)
    monkeypatch.setattr(Worker, "price", pricing)
    return done


class StoppedError(Exception):
    """In place of a power cut."""


def stopping(after: int) -> Callable[[str, int, int], None]:
    calls = 0

    def progress(_stage: str, _done: int, _total: int) -> None:
        nonlocal calls
        calls += 1
        if calls == after:
            raise StoppedError

    return progress


def test_a_run_that_was_stopped_anywhere_goes_on_to_the_same_report(
    case: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = judged(case)
    stages: list[str] = []
    judged(case, progress=lambda stage, _done, _total: stages.append(stage))
    first = {stage: stages.index(stage) + 1 for stage in stages}
    last = {stage: len(stages) - stages[::-1].index(stage) for stage in stages}
    middle = (first["windows"] + last["windows"]) // 2
    for after in (1, last["tensors"], first["windows"], middle, last["windows"], last["operations"], len(stages)):
        keep = tmp_path / f"after{after}"
        with pytest.raises(StoppedError):
            judged(case, resume=keep, progress=stopping(after))
        stored = len([path for kind in ("compare", "trace", "storage") for path in keep.glob(f"*-{kind}-*")])
        assert stored == 0 if after <= first["windows"] else stored > 0
        done = count_parts(monkeypatch)
        assert judged(case, resume=keep) == whole
        # what was finished before is not done again
        assert len(done) == 5 + 2 + 5 - stored
        done.clear()
        assert judged(case, resume=keep) == whole
        assert done == []
        assert not list(keep.glob("*.partial"))


def stopped_at_the_fourth_batch(case: tuple[Path, Path], keep: Path) -> None:
    priced: list[int] = []

    def stopping_cost(*arguments: Any, **options: Any) -> HonestCost:
        if len(priced) == 3:
            raise StoppedError
        priced.append(1)
        return honest_cost(*arguments, **options)

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr("verify.run.honest_storage.honest_cost", stopping_cost)
        with pytest.raises(StoppedError):
            judged(case, resume=keep)


def test_a_run_that_was_stopped_among_the_draws_of_storage_keeps_those_before(
    case: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = judged(case)
    stopped_at_the_fourth_batch(case, tmp_path)
    done = count_parts(monkeypatch)
    assert judged(case, resume=tmp_path) == whole
    assert done == ["price"] * 2


def test_draws_of_storage_are_thrown_anew_for_another_file_and_by_a_rebuilt_reader(
    case: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stopped_at_the_fourth_batch(case, tmp_path / "kept")
    other = tmp_path / "other.bin"
    checkpoint = exporter.open_checkpoint(case[0])
    exporter.export(checkpoint, other, format="v3", storage="q8_0", group_size=4)
    done = count_parts(monkeypatch)
    judged((case[0], other), resume=tmp_path / "kept")
    assert done.count("price") == 5
    done.clear()
    # a file of the reader's package that the compiler would have written otherwise
    rebuilt = tmp_path / "reader_c"
    rebuilt.mkdir()
    (rebuilt / "_reader.abi3.so").write_bytes(b"another build")
    monkeypatch.setattr("verify.run.resume.reader_c.__file__", str(rebuilt / "__init__.py"))
    judged(case, resume=tmp_path / "kept")
    assert done.count("price") == 5


def test_other_inputs_find_nothing(case: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    judged(case, resume=tmp_path)
    done = count_parts(monkeypatch)
    for other in (dataclasses.replace(EVIDENCE, seed=1), dataclasses.replace(EVIDENCE, depth="quick")):
        verify.verify(*case, evidence=other, resume=tmp_path)
        assert done
        done.clear()
    threads = torch.get_num_threads()
    # told alone: threads without a core of their own spin
    monkeypatch.setattr(torch, "get_num_threads", lambda: threads + 1)
    judged(case, resume=tmp_path)
    assert done
    done.clear()
    monkeypatch.setattr("verify.verdict.program", lambda: "of another day")
    judged(case, resume=tmp_path)
    assert done


def test_damaged_parts_are_done_again(case: tuple[Path, Path], tmp_path: Path) -> None:
    whole = judged(case, resume=tmp_path)
    for number, part in enumerate(sorted(tmp_path.iterdir())):
        content = part.read_bytes()
        damaged = (b"", content[: len(content) // 2], b"PK\x03\x04" + content[4:99], b"no archive")
        part.write_bytes(damaged[number % 4])
    assert judged(case, resume=tmp_path) == whole


def test_parts_hold_no_code(tmp_path: Path) -> None:
    store = EvidenceStore(tmp_path, {})
    kept, nothing = FirstPositions(np.ones((2, 3)), np.zeros((2, 3))), WorstLogit(0.0, {}, 0.0, 6)
    store.put("x", ComparedWindow(0, (("mirror", nothing),), nothing, None, None, None, kept))
    (path,) = tmp_path.iterdir()
    with np.load(path, allow_pickle=False) as stored:
        assert sorted(stored.files) == ["array0", "array1", "said"]
    again = store.get("x", ComparedWindow)
    assert again is not None
    assert again.first_positions is not None
    assert np.array_equal(again.first_positions.of_source, np.ones((2, 3)))
    np.savez(path, said=np.array([object()], dtype=object))
    assert store.get("x", ComparedWindow) is None


def test_a_directory_that_cannot_be_written_to_is_told(case: tuple[Path, Path], tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    source, file = case
    refused(run("verify", source, file, "--depth", "quick", "--resume", tmp_path / "file"), "to keep evidence in")
    refused(run("verify", source, file, "--workers", "2"), "--workers: expected --cluster beside it")
    refused(run("verify", source, file, "--cluster", "local", "--workers", "0"), "--workers: expected 1 to")


def ours(name: str) -> list[int]:
    """Processes whose command line begins so, of all that this one has led to: other tests have clusters too."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                command, inherited = (entry / "cmdline").read_bytes(), (entry / "environ").read_bytes()
            except OSError:
                continue
            if command.startswith(name.encode()) and "=".join(MARK).encode() in inherited.split(b"\0"):
                found.append(int(entry.name))
    return found


def none_left(name: str) -> bool:
    """In the end: Ray tells its workers to go and does not wait for them."""
    for _ in range(600):
        if not ours(name):
            return True
        time.sleep(0.1)
    return False


# a cluster takes its time to start
ONE = pytest.mark.parametrize("case", ["llama2c"], indirect=True)


@ONE
@pytest.mark.parametrize("workers", [1, 3])
def test_workers_find_the_same_report(case: tuple[Path, Path], workers: int) -> None:
    pytest.importorskip("ray")
    assert judged(case, cluster="local", workers=workers) == judged(case)
    assert none_left("ray::_Actor")


@ONE
def test_a_worker_that_dies_is_replaced_and_nothing_is_lost_or_counted_twice(case: tuple[Path, Path]) -> None:
    pytest.importorskip("ray")
    whole = judged(case)
    killed: list[int] = []

    def kill() -> None:
        # a worker is named by what it does only while it does it
        while not killed:
            for pid in ours("ray::_Actor.compare"):
                os.kill(pid, signal.SIGKILL)
                killed.append(pid)
                return
            time.sleep(0.005)

    killer = threading.Thread(target=kill, daemon=True)
    killer.start()
    found = judged(case, cluster="local", workers=2)
    killer.join(5)
    assert killed
    assert found == whole


SAME_BYTES = "expected the same bytes for every worker, found others"


@ONE
def test_a_worker_that_sees_another_file_says_so(case: tuple[Path, Path], tmp_path: Path) -> None:
    """As on storage that lags behind: the path is right, what lies there is not."""
    pytest.importorskip("ray")
    seen, other = tmp_path / "model.bin", tmp_path / "other.bin"
    seen.write_bytes(case[1].read_bytes())
    exporter.export(exporter.open_checkpoint(case[0]), other, format="v3")

    def lag(stage: str, _done: int, _total: int) -> None:
        if stage == "tensors" and other.exists():
            other.replace(seen)

    with pytest.raises(CannotJudgeError, match=f"^{seen}: {SAME_BYTES}$"):
        judged((case[0], seen), cluster="local", workers=1, progress=lag)


def test_a_worker_that_sees_another_source_says_so(
    case: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    jobs: list[Job] = []

    def kept(**fields: Any) -> Job:
        jobs.append(Job(**fields))
        return jobs[-1]

    monkeypatch.setattr("verify.verdict.Job", kept)
    judged(case)
    seen = huggingface.save(tmp_path / "seen", huggingface.model())
    (seen / "config.json").write_text((seen / "config.json").read_text() + " ")
    if case[0].is_file():
        seen = save(tmp_path, state_dict(seed=1))
    name = "checkpoint.pt" if case[0].is_file() else "config.json"
    with pytest.raises(CannotJudgeError, match=f"^{seen}: {name}: {SAME_BYTES}$"):
        dataclasses.replace(jobs[0], source=str(seen)).open()


@ONE
def test_who_ends_a_run_on_a_cluster_gets_the_same_status_as_without(case: tuple[Path, Path]) -> None:
    pytest.importorskip("ray")
    options = ("--depth", "full", "--cluster", "local", "--workers", "1")
    command = [sys.executable, "-m", "verify", "verify", *case, *options]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        while process.poll() is None and not ours("ray::_Actor."):  # at work
            time.sleep(0.01)
        process.send_signal(signal.SIGTERM)
        said = process.communicate()
    assert process.returncode == 128 + signal.SIGTERM, said
    assert said[0] == b""
    assert without_progress(said[1].decode()) == ""
    assert none_left("ray::_Actor")


@pytest.mark.parametrize("address", ["127.0.0.1:1", "nowhere", "nowhere.invalid:6379", "127.0.0.1:99999999"])
def test_a_cluster_that_is_not_there_is_told(case: tuple[Path, Path], address: str) -> None:
    pytest.importorskip("ray")
    source, file = case
    refused(run("verify", source, file, "--cluster", address), f"cluster {address}: expected Ray there, found")
