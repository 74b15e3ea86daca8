"""Pulses become progress of a stage, and stages become seconds."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from helpers.clock import Clock

from verify.run.progress import Meter, Stopwatch, no_forecast, no_progress, whole_stage
from verify.system.pulse import pulse

Seen = list[tuple[str, int, int]]


def recorder() -> tuple[Seen, Stopwatch]:
    seen: Seen = []
    return seen, Stopwatch(lambda stage, done, total: seen.append((stage, done, total)))


def test_pulses_within_a_part_move_the_stage() -> None:
    seen, progress = recorder()
    meter = Meter(progress, "windows", 200)
    with meter.part(100):
        pulse(10)
        pulse(60)
    with meter.part(100):
        pulse(50)
    meter.finish()
    assert [done for _, done, _ in seen] == [0, 10, 70, 100, 150, 199, 200]
    assert {(stage, total) for stage, _, total in seen} == {("windows", 200)}


def test_more_pulses_than_predicted_move_on_without_reaching_the_end() -> None:
    seen, progress = recorder()
    meter = Meter(progress, "windows", 2000)
    with meter.part(1000):
        for _ in range(20):
            pulse(100)
    moved = [done for _, done, _ in seen][1:18]
    assert moved == sorted(set(moved))
    assert moved[:8] == [100, 200, 300, 400, 500, 600, 700, 800]
    assert 990 < moved[-1] < 1000
    assert seen[-1][1] == 1000


def test_only_the_end_of_the_stage_is_the_whole() -> None:
    seen, progress = recorder()
    with pytest.raises(ValueError, match="broken"), whole_stage(progress, "storage", 7):
        pulse(1e9)
        raise ValueError("broken")
    assert all(done < total for _, done, total in seen)
    with whole_stage(progress, "storage", 0.0):
        pass
    assert seen[-1] == ("storage", 1, 1)


def test_pulses_outside_a_part_are_heard_by_nobody() -> None:
    seen, progress = recorder()
    meter = Meter(progress, "windows", 10)
    with meter.part(5):
        pass
    pulse(3)
    assert len(seen) == 2


def test_what_is_found_is_a_part_each_and_the_generator_ends() -> None:
    seen, progress = recorder()
    ended = []

    def found() -> Iterator[int]:
        for number in range(3):
            pulse(5)
            yield number
        ended.append(True)

    assert list(Meter(progress, "windows", 30).each(found(), [10, 10, 10])) == [0, 1, 2]
    assert [done for _, done, _ in seen] == [0, 5, 10, 15, 20, 25, 29, 30]
    assert ended
    with pytest.raises(ValueError, match=r"^windows: more was found than was predicted$"):
        list(Meter(progress, "windows", 30).each(found(), [10]))


def test_a_stopwatch_adds_up_the_seconds_of_each_stage() -> None:
    clock = Clock()
    watch = Stopwatch(no_progress, clock)
    assert watch.seconds() == {}
    for stage, seconds in (("tensors", 2.0), ("tensors", 0.5), ("windows", 4.0), ("tensors", 1.0)):
        watch(stage, 0, 1)
        clock.now += seconds
    assert watch.seconds() == {"tensors": 3.5, "windows": 4.0}
    clock.now += 1
    assert watch.seconds() == {"tensors": 4.5, "windows": 4.0}
    assert Stopwatch.around(watch) is watch
    no_forecast({"tensors": 1.0})
