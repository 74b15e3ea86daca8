"""Work on several threads: results in order, the first error, and no more in memory than promised."""

from __future__ import annotations

import threading
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.parallel import in_parallel


@given(st.lists(st.integers(1, 50), max_size=30), st.integers(0, 120))
def test_results_stand_in_order_and_no_more_is_under_way_than_was_allowed(sizes: list[int], allowed: int) -> None:
    lock = threading.Lock()
    under_way = most = 0

    def work(item: tuple[int, int]) -> int:
        nonlocal under_way, most
        with lock:
            under_way += item[1]
            most = max(most, under_way)
        time.sleep(item[1] * 1e-5)
        with lock:
            under_way -= item[1]
        return item[0]

    told: list[int] = []
    results = in_parallel(work, list(enumerate(sizes)), lambda item: item[1], allowed, told.append)
    assert results == sorted(told) == list(range(len(sizes)))
    assert most <= max(allowed, *sizes, 0)


@given(st.sets(st.integers(0, 19), min_size=1), st.integers(0, 2**32))
def test_of_several_errors_the_first_items_is_raised_whatever_the_threads_do(failing: set[int], seed: int) -> None:
    def work(item: int) -> int:
        time.sleep((item * seed % 7) * 1e-4)
        if item in failing:
            raise ValueError(str(item))
        return item

    before = threading.active_count()
    with pytest.raises(ValueError, match=rf"^{min(failing)}$"):
        in_parallel(work, range(20), lambda _: 1, 2, lambda _: None)
    assert threading.active_count() == before


def test_nothing_to_do_is_done() -> None:
    assert in_parallel(lambda item: item, [], lambda _: 1, 1, lambda _: None) == []
