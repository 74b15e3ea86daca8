"""Run work on all cores without holding much more than its largest item."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from typing import TypeVar

# Seconds between two calls of `waiting`.
_PATIENCE = 1.0

Item = TypeVar("Item")
Result = TypeVar("Result")


def in_parallel(
    work: Callable[[Item], Result],
    items: Sequence[Item],
    size: Callable[[Item], int],
    most: int,
    finished: Callable[[Result], None],
    waiting: Callable[[], None] = lambda: None,
) -> list[Result]:
    """Call work with each item, on as many threads as there are cores, and return the results in the items' order.

    size: of an item, in any unit. most: the items that run at the same time have at most this size together, unless
    a single item is larger, so that memory does not grow with the number of cores. finished: called on this thread
    with each result as it comes. waiting: called on this thread every second while it waits. Where several items
    fail, the exception of the first item in order is raised, whatever the threads' order, after every running item
    has ended.
    """
    results: dict[int, Result] = {}
    running: dict[Future[Result], int] = {}

    def take_finished() -> None:
        while not (done := wait(running, _PATIENCE, FIRST_COMPLETED).done):
            waiting()
        failed = [running[future] for future in done if future.exception()]
        if failed:
            raise _first_error(running, min(failed))
        for future in done:
            number = running.pop(future)
            results[number] = future.result()
            finished(results[number])

    with ThreadPoolExecutor(len(os.sched_getaffinity(0))) as pool:
        try:
            for number, item in enumerate(items):
                while running and sum(size(items[n]) for n in running.values()) + size(item) > most:
                    take_finished()
                running[pool.submit(work, item)] = number
            while running:
                take_finished()
        except BaseException:
            # an interrupt waits for the items that run, not for those that are queued
            pool.shutdown(wait=False, cancel_futures=True)
            raise
    return [results[number] for number in range(len(items))]


def _first_error(running: Mapping[Future[Result], int], failed: int) -> BaseException:
    """Return the error of the first failing item up to item number failed: items before it may still fail."""
    first = [future for future, number in sorted(running.items(), key=lambda pair: pair[1]) if number <= failed]
    return next(error for future in first if (error := future.exception()))
