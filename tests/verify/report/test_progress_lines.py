"""Progress in a log, line by line, by a clock of the test's own."""

from __future__ import annotations

import threading

import pytest
from helpers.clock import Clock

from verify.report.estimate import Estimate
from verify.report.progress_lines import HEARTBEAT, Heartbeats, ProgressLines
from verify.system.signals import Interrupted


class Log:
    """What a run writes. Each step moves the clock."""

    def __init__(self) -> None:
        self.clock, self.lines = Clock(), list[str]()
        self.progress = ProgressLines(self.lines.append, Estimate(self.clock))

    def step(self, stage: str, done: int, total: int, seconds: float) -> None:
        self.progress(stage, done, total)
        for _second in range(int(seconds)):
            self.clock.now += 1
            self.progress.beat()
        self.clock.now += seconds % 1


def test_the_lines_of_a_run() -> None:
    log = Log()
    log.step("PyTorch", 0, 1, 1.5)
    log.step("source", 0, 1, 2)
    log.progress.tell("at most 1,090 MiB of memory expected")
    assert log.lines == []
    log.progress.plan({"tensors": 10.0, "windows": 90.0})
    log.step("tensors", 0, 10, 10)
    log.step("windows", 0, 10, 29)
    log.step("windows", 5, 10, 45)
    log.progress.close()
    assert log.lines == [
        "PyTorch: done in 1.5 s",
        "at most 1,090 MiB of memory expected",
        "predicted: about 1 min 40 s, corrected as the work goes on",
        "source: done in 2.0 s",
        "tensors: done in 10.0 s",
        "windows: 50 % after 30 s; 57 % of all, about 30 s left",
        "windows: 50 % after 1 min; 57 % of all, about 1 min left",
        "windows: done in 74.0 s",
    ]


def test_what_takes_long_before_the_plan_shows_signs_of_life() -> None:
    log = Log()
    log.step("PyTorch", 1, 1, 2)
    log.step("export", 1, 4, 65)
    assert log.lines == [
        "PyTorch: done in 2.0 s",
        "export: 25 % after 28 s",
        "export: 25 % after 58 s",
    ]


def test_a_sign_of_life_before_the_first_stage() -> None:
    log = Log()
    log.clock.now += HEARTBEAT
    log.progress.beat()
    assert log.lines == ["starting: 0 % after 30 s"]


def test_interrupts_are_heeded(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted() -> None:
        raise Interrupted

    monkeypatch.setattr("verify.report.progress_lines.heed", interrupted)
    with pytest.raises(Interrupted):
        Log().progress("windows", 0, 1)


def test_heartbeats_come_from_a_thread_of_their_own_and_end_with_the_block() -> None:
    came = threading.Event()
    here = threading.get_ident()
    threads: set[int] = set()

    def beat() -> None:
        threads.add(threading.get_ident())
        came.set()

    with Heartbeats(beat):
        assert came.wait(60)
    assert here not in threads
    assert all(thread.name != "heartbeats" for thread in threading.enumerate())
