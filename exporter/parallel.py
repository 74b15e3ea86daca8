"""Work on all cores that never holds much more than its largest piece."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from typing import TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")


def in_parallel(
    work: Callable[[Item], Result],
    items: Sequence[Item],
    size: Callable[[Item], int],
    most: int,
    finished: Callable[[Result], None],
) -> list[Result]:
    """work of each item, on as many threads as there are cores; results in the items' order.

    Those under way have together at most this size, unless it is one alone, so that memory does not grow with the
    number of cores. finished is called here, with each result, as they come. Of several exceptions the one
    whose item stands first is raised, whatever the threads' order, and nothing is under way any more.
    """
    results: dict[int, Result] = {}
    under_way: dict[Future[Result], int] = {}

    def take_finished() -> None:
        done, _ = wait(under_way, return_when=FIRST_COMPLETED)
        failed = [under_way[future] for future in done if future.exception()]
        if failed:
            raise _first_error(under_way, min(failed))
        for future in done:
            number = under_way.pop(future)
            results[number] = future.result()
            finished(results[number])

    with ThreadPoolExecutor(len(os.sched_getaffinity(0))) as pool:
        try:
            for number, item in enumerate(items):
                while under_way and sum(size(items[n]) for n in under_way.values()) + size(item) > most:
                    take_finished()
                under_way[pool.submit(work, item)] = number
            while under_way:
                take_finished()
        except BaseException:
            # an interrupt waits for what has begun, not for what stands behind it
            pool.shutdown(wait=False, cancel_futures=True)
            raise
    return [results[number] for number in range(len(items))]


def _first_error(under_way: Mapping[Future[Result], int], failed: int) -> BaseException:
    """Of the items up to one that failed, that of the first: earlier ones may still fail."""
    first = [future for future, number in sorted(under_way.items(), key=lambda pair: pair[1]) if number <= failed]
    return next(error for future in first if (error := future.exception()))
