"""Work done ahead comes in order, is never far ahead, and fails where its result is due."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from verify.system.prefetch import ahead


@given(st.lists(st.integers(), max_size=30), st.integers(1, 5))
def test_results_are_those_of_a_map_and_little_is_begun_before_it_is_asked_for(
    items: list[int], workers: int
) -> None:
    begun = 0

    def counted() -> Iterator[int]:
        nonlocal begun
        for item in items:
            begun += 1
            yield item

    results = []
    for number, result in enumerate(ahead(lambda item: item * 2, counted(), workers)):
        results.append(result)
        assert begun <= number + workers
    assert results == [item * 2 for item in items]


def test_an_exception_is_raised_where_its_result_is_due() -> None:
    results = ahead(lambda item: 1 // item, [1, 1, 0, 1], 3)
    assert [next(results), next(results)] == [1, 1]
    with pytest.raises(ZeroDivisionError):
        next(results)


def test_work_is_done_on_other_threads() -> None:
    threads = set(ahead(lambda _: threading.current_thread(), range(4), 2))
    assert threading.current_thread() not in threads
